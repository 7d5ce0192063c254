{{ config(indexes=[{'columns': ['isolate_key'], 'unique': true}]) }}

select
    md5(isolate.hospital_id || '|' || isolate.specimen_id || '|' || isolate.isolate_number) as isolate_key,
    specimen.specimen_key,
    isolate.hospital_id,
    specimen.patient_key,
    isolate.isolate_number,
    isolate.organism_code,
    isolate.organism_code_source,
    organism.kind = 'organism' as is_organism,
    isolate.quantity,
    isolate.status
from {{ ref('stg_isolate') }} as isolate
left join {{ ref('specimen') }} as specimen
    on md5(isolate.hospital_id || '|' || isolate.specimen_id) = specimen.specimen_key
left join {{ ref('organism') }} as organism on isolate.organism_code = organism.organism_code
