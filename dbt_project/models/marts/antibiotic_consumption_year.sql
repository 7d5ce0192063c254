-- all units together: the covered months of the monthly mart, in which every measure adds up over months
with whole as (
    select
        hospital_id,
        extract(year from month)::integer as year,
        scope,
        grouping,
        item,
        sum(ddd) as ddd,
        sum(days_of_therapy) as days_of_therapy,
        sum(length_of_therapy) as length_of_therapy,
        sum(doses) as doses,
        sum(doses_without_ddd) as doses_without_ddd
    from {{ ref('antibiotic_consumption') }}
    where covered
    group by hospital_id, extract(year from month), scope, grouping, item
),

whole_denominator as (
    select
        hospital_id,
        extract(year from month)::integer as year,
        sum(hospitals_covered) as hospital_months_covered,
        sum(hospitals_expected) as hospital_months_expected,
        sum(patient_days) as patient_days,
        sum(doses_unmapped) as doses_unmapped
    from {{ ref('antibiotic_consumption') }}
    where
        grouping = 'total'
        and scope = 'all'
    group by hospital_id, extract(year from month)
),

covered_night as (
    select
        patient_day.hospital_id,
        patient_day.patient_key,
        patient_day.night,
        coalesce(patient_day.unit_type, 'unknown') as unit_type,
        hospital.study_member and coalesce(hospital.calendar, 'real') <> 'shifted' as in_group
    from {{ ref('patient_day') }} as patient_day
    inner join {{ ref('hospital_month') }} as hospital_month
        on
            patient_day.hospital_id = hospital_month.hospital_id
            and hospital_month.month = date_trunc('month', patient_day.night)::date
            and hospital_month.covered
    inner join {{ ref('hospital') }} as hospital on patient_day.hospital_id = hospital.hospital_id
),

unit_nights as (
    select
        hospital_id,
        extract(year from night)::integer as year,
        unit_type,
        in_group,
        count(*) as patient_days
    from covered_night
    group by hospital_id, extract(year from night), unit_type, in_group
),

-- a patient counted in two hospitals in one night, in units of one type, is one night of the group
counted_again as (
    select
        extract(year from night)::integer as year,
        unit_type,
        sum(hospitals - 1) as nights
    from (
        select
            night,
            unit_type,
            count(*) as hospitals
        from covered_night
        where in_group
        group by patient_key, night, unit_type
        having count(*) > 1
    ) as shared
    group by extract(year from night), unit_type
),

unit_denominator as (
    select
        hospital_id,
        year,
        unit_type,
        patient_days
    from unit_nights
    union all
    select
        {{ the_group() }} as hospital_id,
        unit_nights.year,
        unit_nights.unit_type,
        sum(unit_nights.patient_days) - coalesce(max(counted_again.nights), 0) as patient_days
    from unit_nights
    left join counted_again
        on
            unit_nights.year = counted_again.year
            and unit_nights.unit_type = counted_again.unit_type
    where unit_nights.in_group
    group by unit_nights.year, unit_nights.unit_type
),

scopes (scope, narrowest_scope) as ({{ consumption_scopes() }}),

unit_use as (
    select
        case when member.as_group then {{ the_group() }} else used.hospital_id end as hospital_id,
        used.year,
        used.unit_type,
        scopes.scope,
        used.grouping,
        used.item,
        sum(used.ddd) as ddd,
        sum(used.days_of_therapy) as days_of_therapy,
        sum(used.length_of_therapy) as length_of_therapy,
        sum(used.doses) as doses,
        sum(used.doses_without_ddd) as doses_without_ddd
    from {{ ref('antibiotic_unit_year') }} as used
    inner join {{ ref('hospital') }} as hospital on used.hospital_id = hospital.hospital_id
    inner join (values (false), (true)) as member (as_group)
        on not member.as_group or (hospital.study_member and coalesce(hospital.calendar, 'real') <> 'shifted')
    inner join scopes on used.narrowest_scope = scopes.narrowest_scope
    group by
        case when member.as_group then {{ the_group() }} else used.hospital_id end,
        used.year,
        used.unit_type,
        scopes.scope,
        used.grouping,
        used.item
),

cell as (
    select
        whole.hospital_id,
        whole.year,
        'all' as unit_type,
        whole.scope,
        whole.grouping,
        whole.item,
        denominator.patient_days,
        denominator.doses_unmapped,
        whole.ddd,
        whole.days_of_therapy,
        whole.length_of_therapy,
        whole.doses,
        whole.doses_without_ddd
    from whole
    inner join whole_denominator as denominator
        on
            whole.hospital_id = denominator.hospital_id
            and whole.year = denominator.year
    union all
    select
        unit_denominator.hospital_id,
        unit_denominator.year,
        unit_denominator.unit_type,
        totals.scope,
        'total' as grouping,
        'all' as item,
        unit_denominator.patient_days,
        null as doses_unmapped,
        coalesce(unit_use.ddd, 0) as ddd,
        coalesce(unit_use.days_of_therapy, 0) as days_of_therapy,
        coalesce(unit_use.length_of_therapy, 0) as length_of_therapy,
        coalesce(unit_use.doses, 0) as doses,
        coalesce(unit_use.doses_without_ddd, 0) as doses_without_ddd
    from unit_denominator
    cross join (values ('spares'), ('esac'), ('all')) as totals (scope)
    left join unit_use
        on
            unit_denominator.hospital_id = unit_use.hospital_id
            and unit_denominator.year = unit_use.year
            and unit_denominator.unit_type = unit_use.unit_type
            and totals.scope = unit_use.scope
            and unit_use.grouping = 'total'
    union all
    select
        unit_use.hospital_id,
        unit_use.year,
        unit_use.unit_type,
        unit_use.scope,
        unit_use.grouping,
        unit_use.item,
        coalesce(unit_denominator.patient_days, 0) as patient_days,
        null as doses_unmapped,
        unit_use.ddd,
        unit_use.days_of_therapy,
        unit_use.length_of_therapy,
        unit_use.doses,
        unit_use.doses_without_ddd
    from unit_use
    left join unit_denominator
        on
            unit_use.hospital_id = unit_denominator.hospital_id
            and unit_use.year = unit_denominator.year
            and unit_use.unit_type = unit_denominator.unit_type
    where unit_use.grouping <> 'total' or unit_denominator.hospital_id is null
),

exact_interval as materialized ({{ exact_intervals('cell') }})

select
    cell.hospital_id,
    cell.year,
    cell.unit_type,
    cell.scope,
    cell.grouping,
    cell.item,
    denominator.hospital_months_covered::integer as hospital_months_covered,
    denominator.hospital_months_expected::integer as hospital_months_expected,
    cell.patient_days::bigint as patient_days,
    cell.ddd::numeric(18, 4) as ddd,
    cell.days_of_therapy::bigint as days_of_therapy,
    cell.length_of_therapy::bigint as length_of_therapy,
    {{ consumption_rates('cell', 'cell.patient_days', 'dot', 'lot') }},
    cell.doses::bigint as doses,
    cell.doses_without_ddd::bigint as doses_without_ddd,
    cell.doses_unmapped::bigint as doses_unmapped,
    {{ release_columns() }}
from cell
inner join whole_denominator as denominator
    on
        cell.hospital_id = denominator.hospital_id
        and cell.year = denominator.year
left join exact_interval as dot on cell.days_of_therapy = dot.n
left join exact_interval as lot on cell.length_of_therapy = lot.n
