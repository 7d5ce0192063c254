select
    hospital_id,
    patient_id,
    sex,
    extract(year from birth_date)::integer as birth_year,
    death_date
from {{ source('staging', 'patient') }}
