select
    expected.organism_code,
    agent.agent_code,
    expected.source
from {{ ref('expected_resistance') }} as expected
cross join lateral unnest(string_to_array(expected.agent_codes, ' ')) as agent (agent_code)
