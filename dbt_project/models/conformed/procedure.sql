select
    md5(procedure.hospital_id || '|' || procedure.stay_id || '|' || procedure.rank) as procedure_key,
    procedure.hospital_id,
    stay.stay_key,
    stay.patient_key,
    procedure.rank,
    -- the contract's pattern is CCAM's: a code of another system stands as it was delivered
    case
        when procedure.procedure_system <> 'ccam'
            then coalesce(procedure.procedure_code, procedure.procedure_code_source)
        else procedure.procedure_code
    end as procedure_code,
    procedure.procedure_code_source,
    coalesce(procedure.procedure_system, 'ccam') as procedure_system,
    procedure.performed_at,
    procedure.performed_at_local
from {{ ref('stg_procedure') }} as procedure
left join {{ ref('stay') }} as stay
    on
        procedure.hospital_id = stay.hospital_id
        and procedure.stay_id = stay.stay_id
