with nights as (
    select
        hospital_id,
        date_trunc('month', night)::date as month,
        count(*) as patient_days
    from {{ ref('patient_day') }}
    group by hospital_id, date_trunc('month', night)
),

drug_scope as (
    select
        atc,
        'all' as scope
    from {{ ref('antimicrobial') }}
    union all
    select
        atc,
        'esac' as scope
    from {{ ref('antimicrobial') }}
    where in_esac
    union all
    select
        atc,
        'spares' as scope
    from {{ ref('antimicrobial') }}
    where in_spares
),

patient_treatment_day as (
    select
        antibiotic_day.hospital_id,
        antibiotic_day.patient_key,
        antibiotic_day.given_on,
        drug_scope.scope,
        count(*) as drugs
    from {{ ref('antibiotic_day') }} as antibiotic_day
    inner join drug_scope on antibiotic_day.atc = drug_scope.atc
    group by
        antibiotic_day.hospital_id,
        antibiotic_day.patient_key,
        antibiotic_day.given_on,
        drug_scope.scope
),

therapy as (
    select
        hospital_id,
        scope,
        date_trunc('month', given_on)::date as month,
        sum(drugs) as days_of_therapy,
        count(*) as length_of_therapy
    from patient_treatment_day
    group by hospital_id, scope, date_trunc('month', given_on)
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

hospital_measure as (
    select
        hospital_month.hospital_id,
        hospital_month.month,
        scopes.scope,
        recorded.hospital_id is not null as covered,
        case
            when recorded.hospital_id is not null then coalesce(nights.patient_days, 0)
        end as patient_days,
        case
            when recorded.hospital_id is not null then coalesce(therapy.days_of_therapy, 0)
        end as days_of_therapy,
        case
            when recorded.hospital_id is not null then coalesce(therapy.length_of_therapy, 0)
        end as length_of_therapy
    from hospital_month
    cross join (values ('all'), ('esac'), ('spares')) as scopes (scope)
    left join {{ ref('record_month') }} as recorded
        on
            hospital_month.hospital_id = recorded.hospital_id
            and hospital_month.month = recorded.month
            and recorded.table_name = 'administration'
    left join nights
        on
            hospital_month.hospital_id = nights.hospital_id
            and hospital_month.month = nights.month
    left join therapy
        on
            hospital_month.hospital_id = therapy.hospital_id
            and hospital_month.month = therapy.month
            and scopes.scope = therapy.scope
),

measure as (
    select
        hospital_id,
        month,
        scope,
        covered,
        case when covered then 1 else 0 end as hospitals_covered,
        1 as hospitals_expected,
        patient_days,
        days_of_therapy,
        length_of_therapy
    from hospital_measure
    union all
    select
        'group' as hospital_id,
        hospital_measure.month,
        hospital_measure.scope,
        bool_or(hospital_measure.covered) as covered,
        count(*) filter (where hospital_measure.covered) as hospitals_covered,
        (
            select count(*) from {{ ref('hospital') }} as member
            where member.study_member
        ) as hospitals_expected,
        sum(hospital_measure.patient_days) as patient_days,
        sum(hospital_measure.days_of_therapy) as days_of_therapy,
        sum(hospital_measure.length_of_therapy) as length_of_therapy
    from hospital_measure
    inner join {{ ref('hospital') }} as hospital on hospital_measure.hospital_id = hospital.hospital_id
    where hospital.study_member
    group by hospital_measure.month, hospital_measure.scope
)

select
    hospital_id,
    month,
    scope,
    covered,
    hospitals_covered::integer as hospitals_covered,
    hospitals_expected::integer as hospitals_expected,
    patient_days::bigint as patient_days,
    days_of_therapy::bigint as days_of_therapy,
    length_of_therapy::bigint as length_of_therapy,
    round(1000.0 * days_of_therapy / nullif(patient_days, 0), 3)::numeric(14, 3) as dot_per_1000_patient_days,
    {{ release_columns() }}
from measure
