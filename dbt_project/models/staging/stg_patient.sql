select
    hospital_id,
    patient_id,
    sex,
    death_date,
    extract(year from birth_date)::integer as birth_year,
    flags
from {{ source('staging', 'patient') }}
-- A patient merged into another is no patient of their own.
where merged_into is null
