select
    hospital_id,
    stay_id,
    rank,
    diagnosis_code,
    diagnosis_code_source,
    diagnosis_system,
    diagnosis_type,
    flags
from {{ source('staging', 'diagnosis') }}
