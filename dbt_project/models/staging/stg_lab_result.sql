select
    hospital_id,
    lab_result_id,
    patient_id,
    stay_id,
    test_code,
    test_code_source,
    value,
    value_text,
    unit,
    lower_bound,
    upper_bound,
    collected_at,
    collected_at_local,
    status,
    flags
from {{ source('staging', 'lab_result') }}
