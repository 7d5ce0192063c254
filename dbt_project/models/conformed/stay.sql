{{
    config(indexes=[
        {'columns': ['stay_key'], 'unique': true},
        {'columns': ['hospital_id', 'patient_key']},
    ])
}}

with moment as (
    select
        hospital_id,
        admitted_at as moment_at,
        admitted_at_local as moment_at_local
    from {{ ref('stg_stay') }}
    union all
    select
        hospital_id,
        discharged_at as moment_at,
        discharged_at_local as moment_at_local
    from {{ ref('stg_stay') }}
    union all
    select
        hospital_id,
        given_at as moment_at,
        given_at_local as moment_at_local
    from {{ ref('stg_administration') }}
),

observed as (
    select
        hospital_id,
        max(moment_at) as until,
        max(moment_at_local) as until_local
    from moment
    group by hospital_id
)

select
    md5(stay.hospital_id || '|' || stay.stay_id) as stay_key,
    stay.hospital_id,
    stay.stay_id,
    patient_link.patient_key,
    stay.stay_type,
    stay.admitted_at,
    stay.admitted_at_local,
    stay.discharged_at,
    stay.discharged_at_local,
    coalesce(
        stay.discharged_at,
        least(observed.until, stay.admitted_at + interval '{{ var("open_stay_max_nights") | int }} days')
    ) as counted_until,
    coalesce(
        stay.discharged_at_local,
        least(observed.until_local, stay.admitted_at_local + interval '{{ var("open_stay_max_nights") | int }} days')
    ) as counted_until_local,
    stay.entry_mode,
    stay.exit_mode,
    stay.stale_correction
from {{ ref('stg_stay') }} as stay
inner join {{ ref('patient_link') }} as patient_link
    on
        stay.hospital_id = patient_link.hospital_id
        and stay.patient_id = patient_link.patient_id
inner join observed on stay.hospital_id = observed.hospital_id
