{{ config(indexes=[{'columns': ['method']}]) }}
{%- set methods = var('dedup_methods').split() -%}
select
    episode.isolate_key,
    by_method.method,
    episode.dedup_scope,
    episode.among,
    episode.hospital_id,
    episode.patient_key,
    isolate.specimen_key,
    isolate.organism_code,
    episode.species,
    species.species_name,
    episode.specimen_nature,
    episode.collected_at_local,
    episode.collected_at_local::date as collected_on,
    extract(year from episode.collected_at_local)::integer as year,
    split_part(episode.episode_numbers, ' ', by_method.place)::bigint as episode_number,
    coalesce(
        episode.excluded_because, case when by_method.method = 'all' and episode.same_draw then 'same_draw' end
    ) as excluded_because,
    unit.unit_type,
    case when unit.unit_type = 'icu' then 'icu' else 'other' end as ward,
    {{ release_columns() }}
from {{ ref('isolate_episode') }} as episode
cross join
    lateral (
        values
        {%- for method in methods %}
            ('{{ method }}', {{ loop.index }}, episode.first_by & {{ 2 ** loop.index0 }} > 0){{ "," if not loop.last }}
        {%- endfor %}
    ) as by_method (method, place, is_first)
inner join {{ ref('isolate') }} as isolate on episode.isolate_key = isolate.isolate_key
left join {{ ref('organism_species') }} as species on isolate.organism_code = species.organism_code
left join {{ ref('specimen') }} as specimen on isolate.specimen_key = specimen.specimen_key
left join {{ ref('unit') }} as unit on specimen.unit_key = unit.unit_key
where
    by_method.is_first
    or by_method.method = 'all'
