{% set question = [
    'effect', 'exposure_atc', 'organism_code', 'agent_code', 'exposure_source', 'window_days', 'excluded_last_days'
] -%}
{% set cells = ['exposed_cases', 'exposed_controls', 'unexposed_cases', 'unexposed_controls'] -%}
{% set counts = ['index_isolates', 'people_counted', 'not_observable', 'not_tested', 'days_observable'] -%}
-- Restricted: people without an observed day are in no cell, and what is left is stratified by days observed, too.
with stratum as (
    select
        {{ question | join(',\n        ') }},
        'restricted' as people,
        {% for column in cells + ['people_counted', 'not_tested', 'days_observable'] -%}
            case when days_observed = 'none' then 0 else {{ column }} end as {{ column }},
        {% endfor -%}
        case when days_observed = 'none' then index_isolates else not_observable end as not_observable,
        index_isolates
    from {{ ref('exposure_resistance_stratum') }}
    union all
    select
        {{ question | join(',\n        ') }},
        'unrestricted' as people,
        {% for column in cells + ['people_counted', 'not_tested', 'days_observable', 'not_observable'] -%}
            sum({{ column }})::bigint as {{ column }},
        {% endfor -%}
        sum(index_isolates)::bigint as index_isolates
    from {{ ref('exposure_resistance_stratum') }}
    group by {{ question | join(', ') }}, ward, indication
),

-- One stratum's terms of the Mantel-Haenszel estimate and of its variance (Robins, Breslow and Greenland 1986).
term as (
    select
        {{ (question + ['people'] + cells + counts) | join(',\n        ') }},
        (exposed_cases * unexposed_controls)::double precision / nullif(people_counted, 0) as r,
        (exposed_controls * unexposed_cases)::double precision / nullif(people_counted, 0) as s,
        (exposed_cases + unexposed_controls)::double precision / nullif(people_counted, 0) as p,
        (exposed_controls + unexposed_cases)::double precision / nullif(people_counted, 0) as q
    from stratum
),

summed as (
    select
        {{ (question + ['people']) | join(',\n        ') }},
        {% for column in cells + counts -%}
            sum({{ column }})::bigint as {{ column }},
        {% endfor -%}
        count(*) filter (where r + s > 0)::integer as strata,
        sum(r) as r,
        sum(s) as s,
        sum(p * r) as pr,
        sum(p * s + q * r) as psqr,
        sum(q * s) as qs
    from term
    group by {{ (question + ['people']) | join(', ') }}
),

adjusted as (
    select
        {{ (question + ['people'] + cells + counts) | join(',\n        ') }},
        strata,
        case when r > 0 and s > 0 then ln(r / s) end as log_odds_ratio,
        case
            when r > 0 and s > 0 then sqrt(pr / (2 * r * r) + psqr / (2 * r * s) + qs / (2 * s * s))
        end as standard_error
    from summed
),

estimate as (
    select
        {{ (question + cells + counts) | join(',\n        ') }},
        case people when 'restricted' then 'crude' else 'unrestricted_crude' end as estimate,
        'none' as strata_by,
        1 as strata,
        {{ odds_ratio(*cells) }} as odds_ratio,
        {{ woolf_limit('low', *cells) }} as ci_low,
        {{ woolf_limit('high', *cells) }} as ci_high
    from adjusted
    union all
    select
        {{ (question + cells + counts) | join(',\n        ') }},
        case people
            when 'restricted' then 'mantel_haenszel' else 'unrestricted_mantel_haenszel'
        end as estimate,
        case people
            when 'restricted' then 'ward, indication, days observed' else 'ward, indication'
        end as strata_by,
        strata,
        {{ exponential('log_odds_ratio') }} as odds_ratio,
        {{ exponential('log_odds_ratio - ' ~ normal_quantile() ~ ' * standard_error') }} as ci_low,
        {{ exponential('log_odds_ratio + ' ~ normal_quantile() ~ ' * standard_error') }} as ci_high
    from adjusted
)

select
    effect,
    exposure_atc,
    organism_code,
    agent_code,
    exposure_source,
    window_days,
    excluded_last_days,
    estimate,
    strata_by,
    strata,
    odds_ratio,
    ci_low,
    ci_high,
    case
        when people_counted = 0 then 'nobody_counted'
        when odds_ratio is null then 'empty_cell'
    end as reason,
    exposed_cases,
    exposed_controls,
    unexposed_cases,
    unexposed_controls,
    index_isolates,
    people_counted,
    not_observable,
    not_tested,
    round(days_observable::numeric / nullif(people_counted, 0), 1)::numeric(6, 1) as mean_days_observable,
    {{ release_columns() }}
from estimate
