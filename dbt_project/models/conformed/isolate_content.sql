with agent as (
    -- a number for each drug, so that what an isolate was tested for is compared as numbers
    select
        agent_code,
        row_number() over (order by agent_code) as agent_number
    from {{ ref('antimicrobial_agent') }}
),

result as (
    select
        result.isolate_key,
        result.breakpoint_indication,
        result.interpretation,
        agent.agent_number::integer as agent_number,
        agent.agent_number::integer * 100
        + case result.breakpoint_indication
            when 'general' then 0
            when 'meningitis' then 10
            when 'uncomplicated_urinary' then 20
            when 'oral' then 30
            when 'endocarditis' then 40
            else 50
        end
        + case result.interpretation
            when 'resistant' then 5
            when 'intermediate' then 4
            when 'i_guideline_unknown' then 3
            when 'increased_exposure' then 2
            when 'susceptible' then 1
            else 0
        end as written
    from {{ ref('isolate_result') }} as result
    inner join agent on result.agent_code = agent.agent_code
)

select
    isolate_key,
    count(*) filter (where interpretation <> 'undetermined') as interpreted,
    coalesce(
        array_agg(agent_number) filter (where breakpoint_indication = 'general' and interpretation = 'resistant'),
        '{}'
    ) as resistant,
    coalesce(
        array_agg(agent_number) filter (where breakpoint_indication = 'general' and interpretation = 'susceptible'),
        '{}'
    ) as susceptible,
    array_agg(written order by written) as results
from result
group by isolate_key
