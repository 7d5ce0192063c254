{% set question = [
    'effect', 'exposure_atc', 'organism_code', 'agent_code', 'exposure_source', 'window_days', 'excluded_last_days'
] -%}
{% set cells = ['exposed_cases', 'exposed_controls', 'unexposed_cases', 'unexposed_controls'] -%}
{% set counts = ['index_isolates', 'people_counted', 'not_observable', 'not_tested', 'days_observable'] -%}
-- One stratum's terms of the Mantel-Haenszel estimate and of its variance (Robins, Breslow and Greenland 1986).
with term as (
    select
        {{ (question + cells + counts) | join(',\n        ') }},
        (exposed_cases * unexposed_controls)::double precision / nullif(people_counted, 0) as r,
        (exposed_controls * unexposed_cases)::double precision / nullif(people_counted, 0) as s,
        (exposed_cases + unexposed_controls)::double precision / nullif(people_counted, 0) as p,
        (exposed_controls + unexposed_cases)::double precision / nullif(people_counted, 0) as q
    from {{ ref('exposure_resistance_stratum') }}
),

summed as (
    select
        {{ question | join(',\n        ') }},
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
    group by {{ question | join(', ') }}
),

adjusted as (
    select
        {{ (question + cells + counts) | join(',\n        ') }},
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
        'crude' as estimate,
        'none' as strata_by,
        1 as strata,
        {{ odds_ratio(*cells) }} as odds_ratio,
        {{ woolf_limit('low', *cells) }} as ci_low,
        {{ woolf_limit('high', *cells) }} as ci_high
    from adjusted
    union all
    select
        {{ (question + cells + counts) | join(',\n        ') }},
        'mantel_haenszel' as estimate,
        'ward, indication' as strata_by,
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
