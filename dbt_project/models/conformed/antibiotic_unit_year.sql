with covered_day as (
    select
        dose_day.hospital_id,
        extract(year from dose_day.given_on)::integer as year,
        dose_day.unit_type,
        dose_day.patient_key,
        dose_day.atc,
        dose_day.given_on,
        dose_day.doses,
        dose_day.oral_doses,
        dose_day.parenteral_doses,
        dose_day.oral_amount,
        dose_day.parenteral_amount,
        dose_day.other_ddd,
        dose_day.oral_doses_without_ddd,
        dose_day.parenteral_doses_without_ddd,
        dose_day.other_doses_without_ddd
    from {{ ref('dose_day') }} as dose_day
    inner join {{ ref('hospital_month') }} as hospital_month
        on
            dose_day.hospital_id = hospital_month.hospital_id
            and hospital_month.month = date_trunc('month', dose_day.given_on)::date
            and hospital_month.covered
    where
        dose_day.place = 'full'
        and dose_day.atc <> 'unmapped'
),

{{ antibiotic_use('covered_day', ['year', 'unit_type']) }}
