with night_day as (
    select
        hospital_id,
        night,
        count(*) as nights
    from {{ ref('patient_day') }}
    group by hospital_id, night
),

-- every day with a patient or a record of an administration
observed_day as (
    select
        coalesce(night_day.hospital_id, administration_day.hospital_id) as hospital_id,
        coalesce(night_day.night, administration_day.given_on) as day,
        coalesce(night_day.nights, 0) as nights,
        coalesce(administration_day.records, 0) as administrations
    from night_day
    full join {{ ref('stg_administration_day') }} as administration_day
        on
            night_day.hospital_id = administration_day.hospital_id
            and night_day.night = administration_day.given_on
),

observed_month as (
    select
        hospital_id,
        date_trunc('month', day)::date as month,
        sum(nights) as patient_days,
        count(*) filter (where nights > 0) as days_with_patients,
        count(*) filter (where nights > 0 and administrations > 0) as days_with_administrations,
        sum(administrations) as administrations
    from observed_day
    group by hospital_id, date_trunc('month', day)
),

active_month as (
    select
        hospital_id,
        date_trunc('month', night)::date as month
    from night_day
    union
    select
        hospital_id,
        month
    from {{ ref('record_month') }}
    where within_period
),

hospital_months as (
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
        lateral {{ months_of_period('bounds.first_month', 'bounds.last_month') }} as months (month)
)

select
    hospital_months.hospital_id,
    hospital_months.month,
    coalesce(observed_month.patient_days, 0)::bigint as patient_days,
    coalesce(observed_month.days_with_patients, 0)::integer as days_with_patients,
    coalesce(observed_month.days_with_administrations, 0)::integer as days_with_administrations,
    round(
        observed_month.days_with_administrations::numeric / nullif(observed_month.days_with_patients, 0), 4
    )::numeric(5, 4) as share_of_days,
    -- a month without patients is covered where anything was recorded: zero over zero, and not "no data"
    coalesce(
        observed_month.administrations > 0
        and 2 * observed_month.days_with_administrations >= observed_month.days_with_patients,
        false
    ) as covered
from hospital_months
left join observed_month
    on
        hospital_months.hospital_id = observed_month.hospital_id
        and hospital_months.month = observed_month.month
