select
    hospital_id,
    finess,
    name,
    study_member,
    calendar,
    timezone,
    combination_doses,
    combination_doses_by_drug,
    latest_day
from {{ source('staging', 'hospital') }}
