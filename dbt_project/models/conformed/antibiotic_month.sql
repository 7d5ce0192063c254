with month_day as (
    select
        hospital_id,
        date_trunc('month', given_on)::date as month,
        patient_key,
        atc,
        given_on,
        doses,
        oral_doses,
        parenteral_doses,
        oral_amount,
        parenteral_amount,
        other_ddd,
        oral_doses_without_ddd,
        parenteral_doses_without_ddd,
        other_doses_without_ddd
    from {{ ref('antibiotic_day') }}
),

{{ antibiotic_use('month_day', ['month']) }}
