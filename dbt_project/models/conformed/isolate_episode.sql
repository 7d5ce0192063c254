{%- set methods = var('dedup_methods').split() -%}
{%- set lengths = [] -%}
{%- for method in methods if method.startswith('episode_') -%}
    {%- do lengths.append(method[8:] | int) -%}
{%- endfor %}

with candidate as (
    select
        isolate.isolate_key,
        isolate.hospital_id,
        isolate.patient_key,
        isolate.specimen_key,
        isolate.isolate_number,
        organism_species.species,
        specimen.collected_at,
        specimen.collected_at_local,
        specimen.collected_at_local::date as collected_on,
        extract(year from specimen.collected_at_local)::integer as collected_year,
        case
            when isolate.specimen_key is null then 'no_specimen'
            when not isolate.is_organism then 'non_organism'
            when organism_species.species is null then 'unmapped_organism'
            when coalesce(specimen.purpose, '') <> 'diagnostic' then 'not_diagnostic'
            when coalesce(isolate.status, '') not in ('final', 'corrected') then 'not_final'
        end as excluded_because
    from {{ ref('isolate') }} as isolate
    left join {{ ref('specimen') }} as specimen on isolate.specimen_key = specimen.specimen_key
    left join {{ ref('organism_species') }} as organism_species
        on isolate.organism_code = organism_species.organism_code
),

scoped as (
    select
        'hospital' as dedup_scope,
        candidate.hospital_id as within,
        candidate.isolate_key,
        candidate.hospital_id,
        candidate.patient_key,
        candidate.specimen_key,
        candidate.isolate_number,
        candidate.species,
        candidate.collected_at,
        candidate.collected_at_local,
        candidate.collected_on,
        candidate.collected_year,
        candidate.excluded_because
    from candidate
    union all
    select
        'group' as dedup_scope,
        'group' as within,
        candidate.isolate_key,
        candidate.hospital_id,
        candidate.patient_key,
        candidate.specimen_key,
        candidate.isolate_number,
        candidate.species,
        candidate.collected_at,
        candidate.collected_at_local,
        candidate.collected_on,
        candidate.collected_year,
        candidate.excluded_because
    from candidate
    inner join {{ ref('hospital') }} as hospital on candidate.hospital_id = hospital.hospital_id
    -- shifted dates belong to no study period, whatever the registry says of membership
    where
        hospital.study_member
        and hospital.calendar is distinct from 'shifted'
),

stepped as (
    select
        dedup_scope,
        within,
        isolate_key,
        hospital_id,
        patient_key,
        specimen_key,
        isolate_number,
        species,
        collected_at,
        collected_at_local,
        collected_on,
        excluded_because,
        {%- for length in lengths %}
            stats.episode_start(collected_on, {{ length }}) over in_order as start_{{ length }},
        {%- endfor %}
        row_number() over in_order as rank_in_all,
        coalesce(collected_on = lag(collected_on) over in_order, false) as same_day,
        coalesce(collected_year = lag(collected_year) over in_order, false) as same_year
    from scoped
    window in_order as (
        partition by within, patient_key, species, excluded_because
        order by collected_on, collected_at, specimen_key, isolate_number
        rows unbounded preceding
    )
),

opened as (
    select
        dedup_scope,
        within,
        isolate_key,
        hospital_id,
        patient_key,
        specimen_key,
        isolate_number,
        species,
        collected_at,
        collected_at_local,
        collected_on,
        excluded_because,
        rank_in_all,
        -- the first isolate of the day on which an episode starts, or of a year, opens it
        {%- for length in lengths %}
            start_{{ length }} = collected_on and not same_day as opens_{{ length }},
        {%- endfor %}
        not same_year as opens_year
    from stepped
),

numbered as (
    select
        dedup_scope,
        isolate_key,
        hospital_id,
        patient_key,
        species,
        collected_at_local,
        excluded_because,
        rank_in_all,
        {%- for length in lengths %}
            opens_{{ length }},
            count(*) filter (where opens_{{ length }}) over in_order as number_{{ length }},
        {%- endfor %}
        opens_year,
        count(*) filter (where opens_year) over in_order as number_year
    from opened
    window in_order as (
        partition by within, patient_key, species, excluded_because
        order by collected_on, collected_at, specimen_key, isolate_number
        rows unbounded preceding
    )
)

select
    numbered.isolate_key,
    by_method.method,
    numbered.dedup_scope,
    numbered.hospital_id,
    numbered.patient_key,
    numbered.species,
    numbered.collected_at_local,
    numbered.excluded_because,
    by_method.episode_number,
    by_method.is_first
from numbered
cross join
    lateral (
        values
        {%- for method in methods %}
            {%- if method == 'all' %}
                ('all', case when numbered.patient_key is null then 1 else numbered.rank_in_all end, true)
            {%- elif method == 'patient' %}
                ('patient', 1, numbered.rank_in_all = 1)
            {%- elif method == 'm39' %}
                ('m39', numbered.number_year, numbered.opens_year)
            {%- elif method.startswith('episode_') %}
                ('{{ method }}', numbered.number_{{ method[8:] }}, numbered.opens_{{ method[8:] }})
            {%- else %}
                {{ exceptions.raise_compiler_error("dedup_methods: " ~ method ~ " is unknown: all, patient, m39, episode_N") }}
            {%- endif %}{{ "," if not loop.last }}
        {%- endfor %}
    ) as by_method (method, episode_number, is_first)
where
    numbered.excluded_because is null
    or by_method.method = 'all'
