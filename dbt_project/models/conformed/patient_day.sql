select distinct
    stay.hospital_id,
    stay.patient_key,
    stay.admitted_at_local::date + nights.n as night
from {{ ref('stay') }} as stay
cross join
    lateral generate_series(
        0, stay.counted_until_local::date - stay.admitted_at_local::date - 1
    ) as nights (n)
where stay.stay_type = 'full'
