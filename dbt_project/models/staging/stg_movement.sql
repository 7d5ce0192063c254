select
    hospital_id,
    stay_id,
    rank,
    unit_code,
    unit_type,
    entered_at,
    entered_at_local,
    left_at,
    left_at_local,
    flags
from {{ source('staging', 'movement') }}
