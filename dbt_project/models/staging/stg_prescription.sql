select
    hospital_id,
    prescription_id,
    patient_id,
    stay_id,
    drug_code,
    dose,
    dose_unit,
    route,
    started_at,
    started_at_local,
    ended_at,
    ended_at_local,
    status,
    flags
from {{ source('staging', 'prescription') }}
