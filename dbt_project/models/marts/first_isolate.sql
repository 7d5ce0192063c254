select
    episode.isolate_key,
    episode.method,
    episode.dedup_scope,
    episode.hospital_id,
    episode.patient_key,
    isolate.specimen_key,
    isolate.organism_code,
    episode.species,
    specimen.nature as specimen_nature,
    episode.collected_at_local,
    episode.collected_at_local::date as collected_on,
    extract(year from episode.collected_at_local)::integer as year,
    episode.episode_number,
    episode.excluded_because,
    unit.unit_type,
    case when unit.unit_type = 'icu' then 'icu' else 'other' end as ward,
    {{ release_columns() }}
from {{ ref('isolate_episode') }} as episode
inner join {{ ref('isolate') }} as isolate on episode.isolate_key = isolate.isolate_key
left join {{ ref('specimen') }} as specimen on isolate.specimen_key = specimen.specimen_key
left join {{ ref('unit') }} as unit on specimen.unit_key = unit.unit_key
where episode.is_first
