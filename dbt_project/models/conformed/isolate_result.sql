with ranked as (
    select
        isolate_key,
        agent_code,
        -- an indication that cannot be read is none of the others: never taken for the general breakpoint
        case
            when breakpoint_indication is not null then breakpoint_indication
            when breakpoint_indication_source is null then 'general'
            else 'unknown'
        end as breakpoint_indication,
        case
            when category = 'R' then 5
            when category = 'S' then 1
            when coalesce(category, '') <> 'I' then 0
            -- the laboratory wrote SFP itself; no guideline of CLSI knows that category
            when coalesce(guideline_family, '') <> 'clsi' and lower(category_source) like '%sfp%' then 2
            when guideline_family in ('eucast', 'ca_sfm') and guideline_year >= 2019 then 2
            when guideline_family = 'clsi' or guideline_year < 2019 then 4
            else 3
        end as resistance_rank
    from {{ ref('susceptibility') }}
    where agent_code is not null
),

kept as (
    select
        isolate_key,
        agent_code,
        breakpoint_indication,
        max(resistance_rank) as resistance_rank,
        count(*) as results
    from ranked
    group by isolate_key, agent_code, breakpoint_indication
),

-- for cerebrospinal fluid the meningitis breakpoint is the one that counts
meningitis as materialized (
    select
        kept.isolate_key,
        kept.agent_code,
        kept.resistance_rank,
        kept.results
    from kept
    inner join {{ ref('isolate') }} as isolate on kept.isolate_key = isolate.isolate_key
    inner join {{ ref('specimen') }} as specimen on isolate.specimen_key = specimen.specimen_key
    where
        kept.breakpoint_indication = 'meningitis'
        and specimen.nature = 'csf'
),

counted as (
    select
        kept.isolate_key,
        kept.agent_code,
        kept.breakpoint_indication,
        kept.resistance_rank,
        kept.results
    from kept
    left join meningitis
        on
            kept.isolate_key = meningitis.isolate_key
            and kept.agent_code = meningitis.agent_code
    where
        kept.breakpoint_indication <> 'general'
        or meningitis.isolate_key is null
    union all
    select
        isolate_key,
        agent_code,
        'general' as breakpoint_indication,
        resistance_rank,
        results
    from meningitis
)

select
    counted.isolate_key,
    isolate.hospital_id,
    counted.agent_code,
    counted.breakpoint_indication,
    case counted.resistance_rank
        when 5 then 'resistant'
        when 4 then 'intermediate'
        when 3 then 'i_guideline_unknown'
        when 2 then 'increased_exposure'
        when 1 then 'susceptible'
        else 'undetermined'
    end as interpretation,
    intrinsic.agent_code is not null as is_intrinsic,
    counted.results
from counted
inner join {{ ref('isolate') }} as isolate on counted.isolate_key = isolate.isolate_key
left join {{ ref('intrinsic_resistance') }} as intrinsic
    on
        isolate.organism_code = intrinsic.organism_code
        and counted.agent_code = intrinsic.agent_code
