with member as (
    select distinct
        effect.organism_code as index_organism_code,
        same_species.organism_code
    from {{ ref('exposure_effect') }} as effect
    inner join {{ ref('organism') }} as named on effect.organism_code = named.organism_code
    inner join {{ ref('organism') }} as same_species
        on
            named.genus = same_species.genus
            and named.species = same_species.species
            and same_species.kind = 'organism'
)

select distinct on (member.index_organism_code, specimen.patient_key)
    member.index_organism_code as organism_code,
    specimen.patient_key,
    isolate.isolate_key,
    specimen.specimen_key,
    specimen.hospital_id,
    specimen.collected_at_local::date as index_on,
    case when unit.unit_type = 'icu' then 'icu' else 'other' end as ward
from {{ ref('isolate') }} as isolate
inner join member on isolate.organism_code = member.organism_code
inner join {{ ref('specimen') }} as specimen on isolate.specimen_key = specimen.specimen_key
inner join {{ ref('hospital') }} as hospital
    on
        specimen.hospital_id = hospital.hospital_id
        and hospital.study_member
        and hospital.calendar is distinct from 'shifted'
left join {{ ref('unit') }} as unit on specimen.unit_key = unit.unit_key
where
    isolate.status in ('final', 'corrected')
    and specimen.purpose = 'diagnostic'
    and specimen.collected_at is not null
order by
    member.index_organism_code asc,
    specimen.patient_key asc,
    specimen.collected_at asc,
    specimen.specimen_key asc,
    isolate.isolate_number asc
