select
    hospital_id,
    stay_id,
    patient_id,
    stay_type,
    admitted_at,
    admitted_at_local,
    discharged_at,
    discharged_at_local,
    ended_at,
    ended_at_local,
    entry_mode,
    exit_mode,
    stale_correction,
    flags
from {{ source('staging', 'stay') }}
