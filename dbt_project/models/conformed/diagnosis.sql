select
    md5(diagnosis.hospital_id || '|' || diagnosis.stay_id || '|' || diagnosis.rank) as diagnosis_key,
    diagnosis.hospital_id,
    stay.stay_key,
    stay.patient_key,
    diagnosis.rank,
    -- the contract's pattern is CIM-10's: a code of another system stands as it was delivered
    case
        when diagnosis.diagnosis_system <> 'cim10'
            then coalesce(diagnosis.diagnosis_code, diagnosis.diagnosis_code_source)
        else diagnosis.diagnosis_code
    end as diagnosis_code,
    diagnosis.diagnosis_code_source,
    coalesce(diagnosis.diagnosis_system, 'cim10') as diagnosis_system,
    diagnosis.diagnosis_type
from {{ ref('stg_diagnosis') }} as diagnosis
left join {{ ref('stay') }} as stay
    on
        diagnosis.hospital_id = stay.hospital_id
        and diagnosis.stay_id = stay.stay_id
