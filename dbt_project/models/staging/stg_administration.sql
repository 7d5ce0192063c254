select
    hospital_id,
    administration_id,
    patient_id,
    stay_id,
    drug_code as atc,
    dose,
    dose_unit,
    route,
    status,
    given_at,
    given_at_local,
    flags
from {{ source('staging', 'administration') }}
