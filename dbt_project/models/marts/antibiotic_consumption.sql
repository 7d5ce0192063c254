-- drugs without a code: doses that no cell can hold, beside every rate of the hospital's month
with unmapped as (
    select
        hospital_id,
        date_trunc('month', given_on)::date as month,
        sum(doses) as doses_unmapped
    from {{ ref('dose_day') }}
    where
        place = 'full'
        and atc = 'unmapped'
    group by hospital_id, date_trunc('month', given_on)
),

-- what every row of a hospital's month shares: whether it is covered, and its denominator
hospital_denominator as (
    select
        hospital_month.hospital_id,
        hospital_month.month,
        hospital_month.covered,
        hospital_month.share_of_days,
        case when hospital_month.covered then hospital_month.patient_days end as patient_days,
        case when hospital_month.covered then coalesce(unmapped.doses_unmapped, 0) end as doses_unmapped,
        hospital.study_member and coalesce(hospital.calendar, 'real') <> 'shifted' as in_group
    from {{ ref('hospital_month') }} as hospital_month
    inner join {{ ref('hospital') }} as hospital on hospital_month.hospital_id = hospital.hospital_id
    left join unmapped
        on
            hospital_month.hospital_id = unmapped.hospital_id
            and hospital_month.month = unmapped.month
),

-- nights of one patient counted in two covered hospitals of the group: the group counts them once
counted_again as (
    select
        date_trunc('month', night)::date as month,
        sum(hospitals - 1) as nights
    from (
        select
            patient_day.night,
            count(*) as hospitals
        from {{ ref('patient_day') }} as patient_day
        inner join hospital_denominator
            on
                patient_day.hospital_id = hospital_denominator.hospital_id
                and hospital_denominator.month = date_trunc('month', patient_day.night)::date
                and hospital_denominator.covered
                and hospital_denominator.in_group
        group by patient_day.patient_key, patient_day.night
        having count(*) > 1
    ) as shared
    group by date_trunc('month', night)
),

denominator as (
    select
        hospital_id,
        month,
        covered,
        share_of_days,
        case when covered then 1 else 0 end as hospitals_covered,
        1 as hospitals_expected,
        patient_days,
        doses_unmapped
    from hospital_denominator
    union all
    select
        {{ the_group() }} as hospital_id,
        own.month,
        bool_or(own.covered) as covered,
        null as share_of_days,
        count(*) filter (where own.covered) as hospitals_covered,
        (
            select count(*) from {{ ref('hospital') }} as member
            where member.study_member and coalesce(member.calendar, 'real') <> 'shifted'
        ) as hospitals_expected,
        sum(own.patient_days) - coalesce(max(counted_again.nights), 0) as patient_days,
        sum(own.doses_unmapped) as doses_unmapped
    from hospital_denominator as own
    left join counted_again on own.month = counted_again.month
    where own.in_group
    group by own.month
),

scopes (scope, narrowest_scope) as ({{ consumption_scopes() }}),

hospital_use as (
    select
        antibiotic_month.hospital_id,
        antibiotic_month.month,
        scopes.scope,
        antibiotic_month.grouping,
        antibiotic_month.item,
        sum(antibiotic_month.ddd) as ddd,
        sum(antibiotic_month.days_of_therapy) as days_of_therapy,
        sum(antibiotic_month.length_of_therapy) as length_of_therapy,
        sum(antibiotic_month.doses) as doses,
        sum(antibiotic_month.doses_without_ddd) as doses_without_ddd
    from {{ ref('antibiotic_month') }} as antibiotic_month
    inner join hospital_denominator
        on
            antibiotic_month.hospital_id = hospital_denominator.hospital_id
            and antibiotic_month.month = hospital_denominator.month
            and hospital_denominator.covered
    inner join scopes on antibiotic_month.narrowest_scope = scopes.narrowest_scope
    group by
        antibiotic_month.hospital_id,
        antibiotic_month.month,
        scopes.scope,
        antibiotic_month.grouping,
        antibiotic_month.item
),

cell_use as (
    select
        hospital_id,
        month,
        scope,
        grouping,
        item,
        ddd,
        days_of_therapy,
        length_of_therapy,
        doses,
        doses_without_ddd
    from hospital_use
    union all
    select
        {{ the_group() }} as hospital_id,
        hospital_use.month,
        hospital_use.scope,
        hospital_use.grouping,
        hospital_use.item,
        sum(hospital_use.ddd) as ddd,
        sum(hospital_use.days_of_therapy) as days_of_therapy,
        sum(hospital_use.length_of_therapy) as length_of_therapy,
        sum(hospital_use.doses) as doses,
        sum(hospital_use.doses_without_ddd) as doses_without_ddd
    from hospital_use
    inner join {{ ref('hospital') }} as hospital on hospital_use.hospital_id = hospital.hospital_id
    where hospital.study_member and coalesce(hospital.calendar, 'real') <> 'shifted'
    group by hospital_use.month, hospital_use.scope, hospital_use.grouping, hospital_use.item
),

-- totals stand in every month, zeros included; of the other groupings only what was given
cell as (
    select
        denominator.hospital_id,
        denominator.month,
        totals.scope,
        'total' as grouping,
        'all' as item,
        coalesce(cell_use.ddd, 0) as ddd,
        coalesce(cell_use.days_of_therapy, 0) as days_of_therapy,
        coalesce(cell_use.length_of_therapy, 0) as length_of_therapy,
        coalesce(cell_use.doses, 0) as doses,
        coalesce(cell_use.doses_without_ddd, 0) as doses_without_ddd
    from denominator
    cross join (values ('spares'), ('esac'), ('all')) as totals (scope)
    left join cell_use
        on
            denominator.hospital_id = cell_use.hospital_id
            and denominator.month = cell_use.month
            and totals.scope = cell_use.scope
            and cell_use.grouping = 'total'
    union all
    select
        hospital_id,
        month,
        scope,
        grouping,
        item,
        ddd,
        days_of_therapy,
        length_of_therapy,
        doses,
        doses_without_ddd
    from cell_use
    where grouping <> 'total'
),

exact_interval as materialized ({{ exact_intervals('cell') }})

select
    cell.hospital_id,
    cell.month,
    cell.scope,
    cell.grouping,
    cell.item,
    denominator.covered,
    denominator.share_of_days::numeric(5, 4) as share_of_days,
    denominator.hospitals_covered::integer as hospitals_covered,
    denominator.hospitals_expected::integer as hospitals_expected,
    denominator.patient_days::bigint as patient_days,
    case when denominator.covered then cell.ddd end::numeric(18, 4) as ddd,
    case when denominator.covered then cell.days_of_therapy end::bigint as days_of_therapy,
    case when denominator.covered then cell.length_of_therapy end::bigint as length_of_therapy,
    {{ consumption_rates('cell', 'denominator.patient_days', 'dot', 'lot') }},
    case when denominator.covered then cell.doses end::bigint as doses,
    case when denominator.covered then cell.doses_without_ddd end::bigint as doses_without_ddd,
    denominator.doses_unmapped::bigint as doses_unmapped,
    {{ release_columns() }}
from cell
inner join denominator
    on
        cell.hospital_id = denominator.hospital_id
        and cell.month = denominator.month
left join exact_interval as dot on cell.days_of_therapy = dot.n
left join exact_interval as lot on cell.length_of_therapy = lot.n
