select
    hospital_id,
    specimen_id,
    draw_id,
    patient_id,
    stay_id,
    nature,
    nature_source,
    body_site,
    purpose,
    collected_at,
    collected_at_local,
    received_at,
    validated_at,
    unit_code,
    flags
from {{ source('staging', 'specimen') }}
