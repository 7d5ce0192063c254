select
    hospital_id,
    old_patient_id,
    new_patient_id,
    merged_at,
    merged_at_local,
    flags
from {{ source('staging', 'patient_merge') }}
