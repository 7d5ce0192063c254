with nights as (
    select
        hospital_id,
        date_trunc('month', night)::date as month,
        count(*) as patient_days
    from {{ ref('patient_day') }}
    group by hospital_id, date_trunc('month', night)
),

active_month as (
    select
        hospital_id,
        month
    from nights
    union
    select
        hospital_id,
        month
    from {{ ref('record_month') }}
),

hospital_month as (
    select
        bounds.hospital_id,
        months.month::date as month
    from (
        select
            hospital_id,
            min(month) as first_month,
            max(month) as last_month
        from active_month
        group by hospital_id
    ) as bounds
    cross join
        lateral generate_series(bounds.first_month, bounds.last_month, interval '1 month') as months (month)
),

-- what every row of a hospital's month shares: whether it is covered, and its denominator
hospital_denominator as (
    select
        hospital_month.hospital_id,
        hospital_month.month,
        recorded.hospital_id is not null as covered,
        case when recorded.hospital_id is not null then coalesce(nights.patient_days, 0) end as patient_days,
        hospital.study_member and coalesce(hospital.calendar, 'real') <> 'shifted' as in_group
    from hospital_month
    inner join {{ ref('hospital') }} as hospital on hospital_month.hospital_id = hospital.hospital_id
    left join {{ ref('record_month') }} as recorded
        on
            hospital_month.hospital_id = recorded.hospital_id
            and hospital_month.month = recorded.month
            and recorded.table_name = 'administration'
    left join nights
        on
            hospital_month.hospital_id = nights.hospital_id
            and hospital_month.month = nights.month
),

denominator as (
    select
        hospital_id,
        month,
        covered,
        case when covered then 1 else 0 end as hospitals_covered,
        1 as hospitals_expected,
        patient_days
    from hospital_denominator
    union all
    select
        'group' as hospital_id,
        month,
        bool_or(covered) as covered,
        count(*) filter (where covered) as hospitals_covered,
        (
            select count(*) from {{ ref('hospital') }} as member
            where member.study_member and coalesce(member.calendar, 'real') <> 'shifted'
        ) as hospitals_expected,
        sum(patient_days) as patient_days
    from hospital_denominator
    where in_group
    group by month
),

-- each scope holds the narrower ones
scopes (scope, narrowest_scope) as (
    values
    ('esac', 'esac'), ('spares', 'esac'), ('spares', 'spares'), ('all', 'esac'), ('all', 'spares'), ('all', 'all')
),

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
        sum(antibiotic_month.doses_without_ddd) as doses_without_ddd
    from {{ ref('antibiotic_month') }} as antibiotic_month
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
        doses_without_ddd
    from hospital_use
    union all
    select
        'group' as hospital_id,
        hospital_use.month,
        hospital_use.scope,
        hospital_use.grouping,
        hospital_use.item,
        sum(hospital_use.ddd) as ddd,
        sum(hospital_use.days_of_therapy) as days_of_therapy,
        sum(hospital_use.length_of_therapy) as length_of_therapy,
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
        doses_without_ddd
    from cell_use
    where grouping <> 'total'
)

select
    cell.hospital_id,
    cell.month,
    cell.scope,
    cell.grouping,
    cell.item,
    denominator.covered,
    denominator.hospitals_covered::integer as hospitals_covered,
    denominator.hospitals_expected::integer as hospitals_expected,
    denominator.patient_days::bigint as patient_days,
    case when denominator.covered then cell.ddd end::numeric(18, 4) as ddd,
    case when denominator.covered then cell.days_of_therapy end::bigint as days_of_therapy,
    case when denominator.covered then cell.length_of_therapy end::bigint as length_of_therapy,
    round(1000 * cell.ddd / nullif(denominator.patient_days, 0), 3)::numeric(14, 3) as ddd_per_1000_patient_days,
    round(1000.0 * cell.days_of_therapy / nullif(denominator.patient_days, 0), 3)::numeric(14, 3)
        as dot_per_1000_patient_days,
    case when denominator.covered then cell.doses_without_ddd end::bigint as doses_without_ddd,
    {{ release_columns() }}
from cell
inner join denominator
    on
        cell.hospital_id = denominator.hospital_id
        and cell.month = denominator.month
