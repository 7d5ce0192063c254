select
    hospital_id,
    stay_id,
    rank,
    procedure_code,
    procedure_code_source,
    procedure_system,
    performed_at,
    performed_at_local,
    flags
from {{ source('staging', 'procedure') }}
