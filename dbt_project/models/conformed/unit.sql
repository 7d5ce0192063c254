{{ config(indexes=[{'columns': ['hospital_id', 'unit_code']}]) }}

select
    md5(hospital_id || '|' || unit_code || '|' || valid_from) as unit_key,
    hospital_id,
    unit_code,
    valid_from,
    valid_to,
    unit_label,
    unit_type,
    geographic_finess
from {{ ref('stg_unit') }}
