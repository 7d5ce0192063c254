select
    hospital_id,
    specimen_id,
    isolate_number,
    organism_code,
    organism_code_source,
    quantity,
    status,
    flags
from {{ source('staging', 'isolate') }}
