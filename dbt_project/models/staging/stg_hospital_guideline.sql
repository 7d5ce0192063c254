select
    hospital_id,
    guideline,
    guideline_version,
    valid_from,
    valid_to
from {{ source('staging', 'hospital_guideline') }}
