select
    hospital_id,
    finess,
    name,
    study_member,
    calendar,
    timezone
from {{ ref('stg_hospital') }}
