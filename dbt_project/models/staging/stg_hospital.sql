select
    hospital_id,
    finess,
    name,
    study_member,
    calendar,
    timezone
from {{ source('staging', 'hospital') }}
