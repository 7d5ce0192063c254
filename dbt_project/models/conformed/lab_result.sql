select
    md5(result.hospital_id || '|' || result.lab_result_id) as lab_result_key,
    result.hospital_id,
    patient_link.patient_key,
    stay.stay_key,
    result.test_code as loinc,
    result.test_code_source,
    result.value,
    result.value_text,
    result.unit,
    result.lower_bound,
    result.upper_bound,
    result.collected_at,
    result.collected_at_local,
    result.status
from {{ ref('stg_lab_result') }} as result
inner join {{ ref('patient_link') }} as patient_link
    on
        result.hospital_id = patient_link.hospital_id
        and result.patient_id = patient_link.patient_id
left join {{ ref('stay') }} as stay
    on
        result.hospital_id = stay.hospital_id
        and result.stay_id = stay.stay_id
