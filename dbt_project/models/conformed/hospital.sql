select
    hospital_id,
    finess,
    name,
    study_member,
    calendar,
    timezone,
    combination_doses,
    combination_doses_by_drug,
    latest_day,
    date '{{ var("first_day") }}' as first_day,
    coalesce(latest_day, date '{{ var("last_day") }}') as last_day
from {{ ref('stg_hospital') }}
