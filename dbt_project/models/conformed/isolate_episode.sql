{#- Planned without nested loops: the planner has no statistics of what the first steps count, and guesses one row.
    Compiling its many expressions would cost more than they do. -#}
{{ config(pre_hook='set local enable_nestloop = off; set local jit = off') }}
{%- set methods = var('dedup_methods').split() -%}
{%- set lengths = [] -%}
{%- for method in methods -%}
    {%- set length = method.split('_')[-1] -%}
    {%- if method.startswith('episode_') or method.startswith('phenotype_') -%}
        {%- do lengths.append(length | int) if length | int not in lengths -%}
    {%- elif method not in ('all', 'patient', 'm39', 'ears_net', 'glass') -%}
        {{ exceptions.raise_compiler_error(
            "dedup_methods: " ~ method ~ " is unknown: all, patient, m39, ears_net, glass, episode_N, phenotype_N"
        ) }}
    {%- endif -%}
{%- endfor -%}
{%- set strains = [] -%}
{%- for method in methods if method.startswith('phenotype_') -%}
    {%- do strains.append(method[10:] | int) -%}
{%- endfor -%}
{%- set numbers = {
    'patient': 1, 'm39': 'numbered.number_year', 'glass': 'numbered.number_year_in_nature'
} -%}
{#- columns that the steps hand on -#}
{%- set carried = [
    'isolate_key', 'hospital_id', 'patient_key', 'species', 'nature', 'is_invasive', 'collected_at_local', 'collected_on',
    'collected_year', 'is_tested', 'resistant', 'susceptible', 'excluded_because', 'series', 'place', 'same_draw',
] -%}
{%- set scoped = ['dedup_scope', 'within'] + carried -%}
{%- set counted = ['among'] + scoped -%}
{%- set stepped = counted + [
    'rank_in_all', 'rank_in_nature', 'opens_year', 'opens_year_in_nature', 'opens_year_of_invasive',
    'same_day', 'same_day_in_nature', 'member',
] -%}
{%- for length in lengths -%}
    {%- do stepped.extend(['start_' ~ length, 'start_' ~ length ~ '_in_nature']) -%}
{%- endfor -%}
with candidate as (
    select
        isolate.isolate_key,
        isolate.hospital_id,
        isolate.patient_key,
        isolate.isolate_number,
        isolate.organism_code,
        organism_species.species,
        specimen.specimen_key,
        specimen.draw_key,
        specimen.nature,
        specimen.nature in ('blood', 'csf') as is_invasive,
        unit.unit_type,
        specimen.collected_at,
        specimen.collected_at_local,
        specimen.collected_at_local::date as collected_on,
        extract(year from specimen.collected_at_local)::integer as collected_year,
        coalesce(content.interpreted, 0) as interpreted,
        coalesce(content.resistant, '{}') as resistant,
        coalesce(content.susceptible, '{}') as susceptible,
        content.results,
        case
            when isolate.specimen_key is null then 'no_specimen'
            when not isolate.is_organism then 'non_organism'
            when organism_species.species is null then 'unmapped_organism'
            when specimen.purpose = 'screening' then 'screening'
            when specimen.purpose is null then 'unknown_purpose'
            when coalesce(isolate.status, '') not in ('final', 'corrected') then 'not_final'
            when specimen.of_unknown_patient then 'unknown_patient'
        end as excluded_because
    from {{ ref('isolate') }} as isolate
    left join {{ ref('specimen') }} as specimen on isolate.specimen_key = specimen.specimen_key
    left join {{ ref('unit') }} as unit on specimen.unit_key = unit.unit_key
    left join {{ ref('organism_species') }} as organism_species
        on isolate.organism_code = organism_species.organism_code
    left join {{ ref('isolate_content') }} as content on isolate.isolate_key = content.isolate_key
),

-- The order of all that follows, one number: by time, then by content, never by a pseudonym or a key. Isolates that tie
-- to the end are interchangeable in every mart; the key comes last so that the same rows give the same keys.
placed as (
    select
        isolate_key,
        hospital_id,
        patient_key,
        species,
        specimen_key,
        draw_key,
        nature,
        is_invasive,
        collected_at_local,
        collected_on,
        collected_year,
        interpreted > 0 as is_tested,
        resistant,
        susceptible,
        excluded_because,
        dense_rank() over (order by patient_key, species) as series,
        row_number() over (
            order by
                patient_key asc,
                species asc,
                collected_on asc,
                collected_at asc,
                interpreted desc,
                isolate_number asc,
                results asc,
                hospital_id asc,
                organism_code asc,
                nature asc,
                unit_type asc,
                isolate_key asc
        ) as place
    from candidate
),

-- the bottles of one draw: the isolates of its first specimen stand for those of the others
drawn as (
    select
        isolate_key,
        hospital_id,
        patient_key,
        species,
        nature,
        is_invasive,
        collected_at_local,
        collected_on,
        collected_year,
        is_tested,
        resistant,
        susceptible,
        excluded_because,
        series,
        place,
        coalesce(
            excluded_because is null
            and draw_key is not null
            and specimen_key <> first_value(specimen_key) over (
                partition by draw_key, species, excluded_because
                order by place
                rows unbounded preceding
            ),
            false
        ) as same_draw
    from placed
),

scoped as (
    select
        'hospital' as dedup_scope,
        drawn.hospital_id as within,
        drawn.{{ carried | join(',\n        drawn.') }}
    from drawn
    union all
    select
        {{ the_group() }} as dedup_scope,
        {{ the_group() }} as within,
        drawn.{{ carried | join(',\n        drawn.') }}
    from drawn
    inner join {{ ref('hospital') }} as hospital on drawn.hospital_id = hospital.hospital_id
    -- shifted dates belong to no study period, whatever the registry says of membership
    where
        hospital.study_member
        and hospital.calendar is distinct from 'shifted'
),

counted as (
    select
        'all_isolates' as among,
        {{ scoped | join(',\n        ') }}
    from scoped
    union all
    select
        'tested' as among,
        {{ scoped | join(',\n        ') }}
    from scoped
    where is_tested
),

stepped as (
    select
        {{ counted | join(',\n        ') }},
        -- one number for the row, to join by: an isolate, in a scope, among a population
        place * 4
        + case dedup_scope when {{ the_group() }} then 2 else 0 end
        + case among when 'tested' then 1 else 0 end as member,
        row_number() over in_order as rank_in_all,
        row_number() over in_nature as rank_in_nature,
        {%- for length in lengths %}
            {{ stats() }}.episode_start(collected_on, {{ length }}) over in_order as start_{{ length }},
            {{ stats() }}.episode_start(collected_on, {{ length }}) over in_nature as start_{{ length }}_in_nature,
        {%- endfor %}
        coalesce(collected_on = lag(collected_on) over in_order, false) as same_day,
        coalesce(collected_on = lag(collected_on) over in_nature, false) as same_day_in_nature,
        coalesce(collected_year <> lag(collected_year) over in_order, true) as opens_year,
        coalesce(collected_year <> lag(collected_year) over in_nature, true) as opens_year_in_nature,
        coalesce(is_invasive, false)
        and coalesce(collected_year <> lag(collected_year) over of_invasive, true) as opens_year_of_invasive
    from counted
    window
        in_order as (
            partition by within, among, excluded_because, series
            order by place
            rows unbounded preceding
        ),
        in_nature as (
            partition by within, among, excluded_because, series, nature
            order by place
            rows unbounded preceding
        ),
        of_invasive as (
            partition by within, among, excluded_because, series, is_invasive
            order by place
            rows unbounded preceding
        )
),

opened as (
    select
        {{ stepped | join(',\n        ') }},
        {%- for length in lengths %}
            -- the first isolate of the day on which an episode starts opens it
            start_{{ length }} = collected_on and not same_day as opens_{{ length }},
            start_{{ length }}_in_nature = collected_on and not same_day_in_nature as opens_{{ length }}_in_nature,
        {%- endfor %}
        excluded_because is null as is_candidate
    from stepped
),
{%- for length in strains %}
{%- for suffix, and_nature in (('', ''), ('_in_nature', ', nature')) %}

-- only episodes of several isolates can hold a second strain
several_{{ length }}{{ suffix }} as (
    select
        member,
        {{ stats() }}.new_strain(resistant, susceptible) over (
            partition by within, among, series{{ and_nature }}, start_{{ length }}{{ suffix }}
            order by place
            rows unbounded preceding
        ) as is_new
    from (
        select
            member,
            within,
            among,
            series,
            nature,
            place,
            resistant,
            susceptible,
            start_{{ length }}{{ suffix }},
            count(*) over (partition by within, among, series{{ and_nature }}, start_{{ length }}{{ suffix }}) as members
        from opened
        where is_candidate
    ) as episode
    where members > 1
),
{%- endfor %}
{%- endfor %}

numbered as (
    select
        {{ (stepped + ['is_candidate']) | join(',\n        ') }},
        {%- for length in lengths %}
            opens_{{ length }},
            opens_{{ length }}_in_nature,
            count(*) filter (where opens_{{ length }}) over in_order as number_{{ length }},
        {%- endfor %}
        count(*) filter (where opens_year) over in_order as number_year,
        count(*) filter (where opens_year_in_nature) over in_nature as number_year_in_nature,
        count(*) filter (where opens_year_of_invasive) over in_order as number_year_of_invasive
    from opened
    window
        in_order as (
            partition by within, among, excluded_because, series
            order by place
            rows unbounded preceding
        ),
        in_nature as (
            partition by within, among, excluded_because, series, nature
            order by place
            rows unbounded preceding
        )
)

select
    numbered.isolate_key,
    numbered.dedup_scope,
    numbered.among,
    numbered.hospital_id,
    numbered.patient_key,
    numbered.species,
    numbered.nature as specimen_nature,
    numbered.collected_at_local,
    numbered.excluded_because,
    numbered.same_draw,
    concat_ws(
        ' ',
        {%- for method in methods %}
            {%- if method == 'all' %}
                case when numbered.patient_key is null then 1 else numbered.rank_in_all end
            {%- elif method == 'ears_net' %}
                case
                    when numbered.is_candidate and numbered.is_invasive then numbered.number_year_of_invasive
                    else 0
                end
            {%- else %}
                case
                    when numbered.is_candidate
                        then {{ numbers.get(method, 'numbered.number_' ~ method.split('_')[-1]) }}
                    else 0
                end
            {%- endif %}{{ "," if not loop.last }}
        {%- endfor %}
    ) as episode_numbers,
    {{ first_by(methods, '') }} as first_by,
    {{ first_by(methods, '_in_nature') }} as first_by_in_nature
from numbered
{%- for length in strains %}
{%- for suffix in ('', '_in_nature') %}
left join several_{{ length }}{{ suffix }}
    on numbered.member = several_{{ length }}{{ suffix }}.member
{%- endfor %}
{%- endfor %}
