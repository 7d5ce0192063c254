select
    hospital_id,
    patient_id,
    patient_key,
    link_method
from {{ source('staging', 'patient_map') }}
