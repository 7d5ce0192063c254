select
    hospital_id,
    unit_code,
    valid_from,
    valid_to,
    unit_label,
    unit_type,
    geographic_finess,
    flags
from {{ source('staging', 'unit') }}
