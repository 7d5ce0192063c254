-- the last day with any record of any table: the delivery's content ends there
with bounds as (
    select
        record_month.hospital_id,
        min(record_month.month) as first_month,
        max(record_month.month) as last_month,
        max(record_month.last_on) as last_on,
        bool_and(coalesce(hospital.calendar, 'real') = 'shifted') as shifted,
        bool_and(hospital.study_member and coalesce(hospital.calendar, 'real') <> 'shifted') as in_group
    from {{ ref('record_month') }} as record_month
    inner join {{ ref('hospital') }} as hospital on record_month.hospital_id = hospital.hospital_id
    where record_month.within_period
    group by record_month.hospital_id
),

tables (table_name) as (
    values
    ('administration'), ('diagnosis'), ('isolate'), ('lab_result'), ('movement'), ('prescription'), ('procedure'),
    ('specimen'), ('stay'), ('susceptibility')
),

counted as (
    select
        bounds.hospital_id,
        months.month::date as month,
        tables.table_name,
        coalesce(record_month.records, 0) as records,
        min(record_month.month) over (partition by bounds.hospital_id, tables.table_name) as table_first_month,
        case
            when months.month::date = bounds.last_month
                then
                    extract(day from bounds.last_on)
                    / extract(day from bounds.last_month + interval '1 month' - interval '1 day')
            else 1
        end as month_share,
        bounds.shifted,
        bounds.in_group
    from bounds
    cross join lateral {{ months_of_period('bounds.first_month', 'bounds.last_month') }} as months (month)
    cross join tables
    left join {{ ref('record_month') }} as record_month
        on
            bounds.hospital_id = record_month.hospital_id
            and months.month::date = record_month.month
            and tables.table_name = record_month.table_name
),

reference as (
    select
        counted.hospital_id,
        counted.month,
        counted.table_name,
        count(*) as months,
        percentile_cont(0.5) within group (order by previous.records)::numeric as median,
        stddev_samp(previous.records) / nullif(avg(previous.records), 0) as spread
    from counted
    -- each of the twelve months before by its own date: a range would compare every month with every other
    cross join generate_series(1, 12) as ago (months)
    inner join counted as previous
        on
            counted.hospital_id = previous.hospital_id
            and counted.table_name = previous.table_name
            and previous.month = (counted.month - make_interval(months => ago.months))::date
            and previous.month >= previous.table_first_month
    where not counted.shifted
    group by counted.hospital_id, counted.month, counted.table_name
    having count(*) >= 3
),

compared as (
    select
        counted.hospital_id,
        counted.month,
        counted.table_name,
        counted.records,
        counted.month_share,
        counted.in_group,
        reference.median,
        case when reference.months = 12 then reference.spread end as spread,
        counted.records / nullif(reference.median * counted.month_share, 0) as ratio
    from counted
    left join reference
        on
            counted.hospital_id = reference.hospital_id
            and counted.month = reference.month
            and counted.table_name = reference.table_name
)

select
    hospital_id,
    month,
    table_name,
    records::bigint as records,
    median::numeric(14, 1) as expected_median,
    round(spread, 3)::numeric(14, 3) as expected_spread,
    round(month_share, 3)::numeric(4, 3) as month_share,
    round(ratio, 3)::numeric(14, 3) as ratio,
    case
        when median is null then 'no_reference'
        when records = 0 and month_share = 1 then 'zero'
        when records = 0 and median * month_share >= 10 then 'zero'
        when median = 0 then 'no_reference'
        when month_share = 1 and ratio < 0.6 then 'low'
        when records > 1.4 * median then 'high'
        when ratio >= 0.6 then 'ok'
        else 'no_reference'
    end as status,
    in_group,
    {{ release_columns() }}
from compared
