select
    hospital_id,
    patient_id,
    sex,
    death_date,
    extract(year from birth_date)::integer as birth_year
from {{ source('staging', 'patient') }}
