{{
    config(indexes=[
        {'columns': ['stay_key'], 'unique': true},
        {'columns': ['hospital_id', 'patient_key']},
    ])
}}

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
    stay.ended_at as counted_until,
    stay.ended_at_local as counted_until_local,
    stay.entry_mode,
    stay.exit_mode,
    stay.stale_correction
from {{ ref('stg_stay') }} as stay
inner join {{ ref('patient_link') }} as patient_link
    on
        stay.hospital_id = patient_link.hospital_id
        and stay.patient_id = patient_link.patient_id
