{#- Planned without nested loops: the planner has no statistics of what the first steps count, and guesses one row. -#}
{{ config(pre_hook='set local enable_nestloop = off', indexes=[{'columns': ['hospital_id']}]) }}
{%- set methods = var('antibiogram_methods').split() %}
{%- set counts = [
    'susceptible', 'increased_exposure', 'intermediate', 'i_guideline_unknown', 'resistant', 'undetermined'
] -%}
{%- set summed, added = [], [] -%}
{%- for count in counts -%}
    {%- do summed.append('sum(' ~ count ~ ')::integer as ' ~ count) -%}
    {%- do added.append('sum(scope_tally.' ~ count ~ ') as ' ~ count) -%}
{%- endfor -%}
{#- bits of the methods within a hospital, and of those within the group -#}
{%- set of_hospital = 2 ** (2 * (methods | length)) - 1 -%}
{%- set of_group = (2 ** (4 * (methods | length)) - 1) - of_hospital %}
-- One row per isolate: each method, scope and population for which it is a first isolate is a bit of one number, so
-- that results are joined once, not once a method. A nature is filtered first and deduplicated within: its bits are
-- apart.
with isolate_methods as (
    select
        isolate_key,
        hospital_id,
        extract(year from collected_at_local)::integer as year,
        species,
        coalesce(specimen_nature, 'unmapped') as specimen_nature,
        bit_or({{ shown_bits('first_by') }} << shift) as first_by,
        bit_or({{ shown_bits('first_by_in_nature') }} << shift) as first_by_in_nature
    from (
        select
            isolate_key,
            hospital_id,
            species,
            specimen_nature,
            collected_at_local,
            first_by,
            first_by_in_nature,
            case dedup_scope when {{ the_group() }} then {{ 2 * (methods | length) }} else 0 end
            + case among when 'all_isolates' then {{ methods | length }} else 0 end as shift
        from {{ ref('isolate_episode') }}
        where excluded_because is null
    ) as episode
    group by isolate_key, hospital_id, collected_at_local, species, specimen_nature
),

method_bit as (
    select
        method,
        dedup_scope,
        among,
        bit
    from (
        values
        {%- for method in methods %}
            {%- set m = methods | length %}
            ('{{ method }}', 'hospital', 'tested', {{ 2 ** loop.index0 }}::bigint),
            ('{{ method }}', 'hospital', 'all_isolates', {{ 2 ** (loop.index0 + m) }}::bigint),
            ('{{ method }}', {{ the_group() }}, 'tested', {{ 2 ** (loop.index0 + 2 * m) }}::bigint),
            ('{{ method }}', {{ the_group() }}, 'all_isolates', {{ 2 ** (loop.index0 + 3 * m) }}::bigint)
            {{- "," if not loop.last }}
        {%- endfor %}
    ) as bits (method, dedup_scope, among, bit)
),

isolate_tally as (
    select
        hospital_id,
        year,
        species,
        specimen_nature,
        first_by,
        first_by_in_nature,
        count(*) as isolates
    from isolate_methods
    group by hospital_id, year, species, specimen_nature, first_by, first_by_in_nature
),

stratum as (
    select
        case
            when method_bit.dedup_scope = {{ the_group() }} then {{ the_group() }} else tally.hospital_id
        end as hospital_id,
        method_bit.method,
        method_bit.among,
        tally.year,
        tally.species,
        tally.specimen_nature,
        sum(tally.isolates)::bigint as isolates
    from (
        select
            hospital_id,
            year,
            species,
            'all' as specimen_nature,
            first_by as methods,
            isolates
        from isolate_tally
        union all
        select
            hospital_id,
            year,
            species,
            specimen_nature,
            first_by_in_nature as methods,
            isolates
        from isolate_tally
    ) as tally
    inner join method_bit on tally.methods & method_bit.bit > 0
    group by
        case when method_bit.dedup_scope = {{ the_group() }} then {{ the_group() }} else tally.hospital_id end,
        method_bit.method,
        method_bit.among,
        tally.year,
        tally.species,
        tally.specimen_nature
),

result_tally as (
    select
        isolate.hospital_id,
        isolate.year,
        isolate.species,
        isolate.specimen_nature,
        isolate.first_by,
        isolate.first_by_in_nature,
        result.agent_code,
        result.breakpoint_indication,
        (count(*) filter (where result.interpretation = 'susceptible'))::integer as susceptible,
        (count(*) filter (where result.interpretation = 'increased_exposure'))::integer as increased_exposure,
        (count(*) filter (where result.interpretation = 'intermediate'))::integer as intermediate,
        (count(*) filter (where result.interpretation = 'i_guideline_unknown'))::integer as i_guideline_unknown,
        (count(*) filter (where result.interpretation = 'resistant'))::integer as resistant,
        (count(*) filter (where result.interpretation = 'undetermined'))::integer as undetermined
    from isolate_methods as isolate
    inner join {{ ref('isolate_result') }} as result on isolate.isolate_key = result.isolate_key
    where not result.is_intrinsic
    group by
        isolate.hospital_id,
        isolate.year,
        isolate.species,
        isolate.specimen_nature,
        isolate.first_by,
        isolate.first_by_in_nature,
        result.agent_code,
        result.breakpoint_indication
),

-- what a cell is of, but for hospital and method, by number: millions of rows are grouped by three values, not nine
subject as materialized (
    select
        row_number() over () as subject_number,
        year,
        species,
        agent_code,
        breakpoint_indication,
        specimen_nature
    from (
        select
            year,
            species,
            agent_code,
            breakpoint_indication,
            'all' as specimen_nature
        from result_tally
        union distinct
        select
            year,
            species,
            agent_code,
            breakpoint_indication,
            specimen_nature
        from result_tally
    ) as known
),

in_nature as (
    select
        hospital_id,
        year,
        species,
        agent_code,
        breakpoint_indication,
        'all' as specimen_nature,
        first_by as methods,
        {{ counts | join(',\n        ') }}
    from result_tally
    union all
    select
        hospital_id,
        year,
        species,
        agent_code,
        breakpoint_indication,
        specimen_nature,
        first_by_in_nature as methods,
        {{ counts | join(',\n        ') }}
    from result_tally
),

of_subject as materialized (
    select
        in_nature.hospital_id,
        subject.subject_number,
        in_nature.methods,
        in_nature.{{ counts | join(',\n        in_nature.') }}
    from in_nature
    inner join subject
        on
            in_nature.year = subject.year
            and in_nature.species = subject.species
            and in_nature.agent_code = subject.agent_code
            and in_nature.breakpoint_indication = subject.breakpoint_indication
            and in_nature.specimen_nature = subject.specimen_nature
),

-- of each scope its own methods, summed before they are told apart: few combinations of them occur
scope_tally as (
    select
        hospital_id,
        subject_number,
        methods & {{ of_hospital }} as methods,
        {{ summed | join(',\n        ') }}
    from of_subject
    where methods & {{ of_hospital }} > 0
    group by hospital_id, subject_number, methods & {{ of_hospital }}
    union all
    select
        {{ the_group() }} as hospital_id,
        subject_number,
        methods & {{ of_group }} as methods,
        {{ summed | join(',\n        ') }}
    from of_subject
    where methods & {{ of_group }} > 0
    group by subject_number, methods & {{ of_group }}
),

counted as (
    select
        scope_tally.hospital_id,
        method_bit.bit,
        scope_tally.subject_number,
        {{ added | join(',\n        ') }}
    from scope_tally
    inner join method_bit on scope_tally.methods & method_bit.bit > 0
    group by scope_tally.hospital_id, method_bit.bit, scope_tally.subject_number
),

cell as (
    select
        counted.hospital_id,
        method_bit.dedup_scope,
        method_bit.method,
        method_bit.among,
        subject.year,
        subject.species,
        subject.agent_code,
        subject.breakpoint_indication,
        subject.specimen_nature,
        counted.{{ counts | join(',\n        counted.') }},
        counted.{{ (counts | reject('equalto', 'undetermined') | list) | join(' + counted.') }} as tested
    from counted
    inner join subject on counted.subject_number = subject.subject_number
    inner join method_bit on counted.bit = method_bit.bit
),

-- the exact interval is dear: once for each pair of counts, and there are far fewer pairs than cells
pair as materialized (
    select distinct
        resistant,
        tested
    from cell
    where tested >= 30
),

confidence as materialized (
    select
        pair.resistant,
        pair.tested,
        wilson.low as wilson_low,
        wilson.high as wilson_high,
        exact.low as exact_low,
        exact.high as exact_high
    from pair
    cross join lateral {{ stats() }}.wilson(pair.resistant, pair.tested) as wilson
    cross join lateral {{ stats() }}.clopper_pearson(pair.resistant, pair.tested) as exact
)

select
    cell.hospital_id,
    cell.dedup_scope,
    cell.method,
    cell.among,
    cell.year,
    cell.species,
    species.species_name,
    cell.agent_code,
    agent.name as agent_name,
    cell.breakpoint_indication,
    cell.specimen_nature,
    stratum.isolates,
    cell.tested,
    cell.susceptible,
    cell.increased_exposure,
    cell.intermediate,
    cell.i_guideline_unknown,
    cell.resistant,
    cell.undetermined,
    -- confidence.tested is null below 30 tested isolates, and so is every percentage
    round(100.0 * cell.resistant / confidence.tested, 3)::numeric(6, 3) as pct_resistant,
    round(100 * confidence.wilson_low::numeric, 3)::numeric(6, 3) as pct_resistant_wilson_low,
    round(100 * confidence.wilson_high::numeric, 3)::numeric(6, 3) as pct_resistant_wilson_high,
    round(100 * confidence.exact_low::numeric, 3)::numeric(6, 3) as pct_resistant_exact_low,
    round(100 * confidence.exact_high::numeric, 3)::numeric(6, 3) as pct_resistant_exact_high,
    round(100.0 * cell.susceptible / confidence.tested, 3)::numeric(6, 3) as pct_susceptible,
    round(100.0 * cell.increased_exposure / confidence.tested, 3)::numeric(6, 3) as pct_increased_exposure,
    round(100.0 * cell.intermediate / confidence.tested, 3)::numeric(6, 3) as pct_intermediate,
    round(100.0 * cell.i_guideline_unknown / confidence.tested, 3)::numeric(6, 3) as pct_i_guideline_unknown,
    cell.tested < 30 as below_30,
    {{ release_columns() }}
from cell
inner join stratum
    on
        cell.hospital_id = stratum.hospital_id
        and cell.method = stratum.method
        and cell.among = stratum.among
        and cell.year = stratum.year
        and cell.species = stratum.species
        and cell.specimen_nature = stratum.specimen_nature
left join confidence
    on
        cell.resistant = confidence.resistant
        and cell.tested = confidence.tested
left join {{ ref('organism_species') }} as species on cell.species = species.organism_code
left join {{ ref('antimicrobial_agent') }} as agent on cell.agent_code = agent.agent_code
