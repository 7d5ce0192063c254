with ranked as (
    select
        isolate_key,
        agent_code,
        case
            when category = 'R' then 4
            when category = 'S' then 1
            when coalesce(category, '') <> 'I' then 0
            -- the laboratory wrote SFP itself; no guideline of CLSI knows that category
            when coalesce(guideline, '') <> 'clsi' and lower(category_source) like '%sfp%' then 2
            when
                guideline in ('eucast', 'ca_sfm')
                and coalesce(
                    substring(guideline_version from '(?:19|20)[0-9]{2}')::integer,
                    -- EUCAST numbers its tables: v9 is that of 2019
                    case
                        when guideline = 'eucast'
                            then 2010 + substring(guideline_version from '^\s*[vV]?\s*([0-9]{1,2})(?![0-9])')::integer
                    end
                ) >= 2019
                then 2
            else 3
        end as resistance_rank
    from {{ ref('susceptibility') }}
    where agent_code is not null
),

kept as (
    select
        isolate_key,
        agent_code,
        max(resistance_rank) as resistance_rank,
        count(*) as results
    from ranked
    group by isolate_key, agent_code
)

select
    kept.isolate_key,
    isolate.hospital_id,
    kept.agent_code,
    case kept.resistance_rank
        when 4 then 'resistant'
        when 3 then 'intermediate'
        when 2 then 'increased_exposure'
        when 1 then 'susceptible'
        else 'undetermined'
    end as interpretation,
    intrinsic.agent_code is not null as is_intrinsic,
    kept.results
from kept
inner join {{ ref('isolate') }} as isolate on kept.isolate_key = isolate.isolate_key
left join {{ ref('intrinsic_resistance') }} as intrinsic
    on
        isolate.organism_code = intrinsic.organism_code
        and kept.agent_code = intrinsic.agent_code
