with grid as (
    select
        effect.effect,
        effect.exposure_atc,
        effect.organism_code,
        effect.agent_code,
        lookback.window_days,
        lookback.excluded_last_days,
        wards.ward,
        indications.indication,
        observations.days_observed
    from {{ ref('exposure_effect') }} as effect
    cross join {{ ref('exposure_lookback') }} as lookback
    cross join (values ('other'), ('icu')) as wards (ward)
    cross join (values ('none'), ('infection')) as indications (indication)
    cross join (values ('none'), ('1-3'), ('4-14'), ('> 14')) as observations (days_observed)
),

counted as (
    select
        effect,
        window_days,
        excluded_last_days,
        ward,
        indication,
        days_observed,
        count(*) filter (where standing_unrestricted = 'counted' and exposed and resistant) as exposed_cases,
        count(*) filter (where standing_unrestricted = 'counted' and exposed and not resistant) as exposed_controls,
        count(*) filter (where standing_unrestricted = 'counted' and not exposed and resistant) as unexposed_cases,
        count(*) filter (
            where standing_unrestricted = 'counted' and not exposed and not resistant
        ) as unexposed_controls,
        count(*) as index_isolates,
        count(*) filter (where standing_unrestricted = 'not_observable') as not_observable,
        count(*) filter (where standing_unrestricted = 'not_tested') as not_tested,
        sum(days_observable) filter (where standing_unrestricted = 'counted') as days_observable
    from {{ ref('index_exposure') }}
    group by effect, window_days, excluded_last_days, ward, indication, days_observed
),

filled as (
    select
        grid.effect,
        grid.exposure_atc,
        grid.organism_code,
        grid.agent_code,
        grid.window_days,
        grid.excluded_last_days,
        grid.ward,
        grid.indication,
        grid.days_observed,
        coalesce(counted.exposed_cases, 0) as exposed_cases,
        coalesce(counted.exposed_controls, 0) as exposed_controls,
        coalesce(counted.unexposed_cases, 0) as unexposed_cases,
        coalesce(counted.unexposed_controls, 0) as unexposed_controls,
        coalesce(counted.index_isolates, 0) as index_isolates,
        coalesce(counted.not_observable, 0) as not_observable,
        coalesce(counted.not_tested, 0) as not_tested,
        coalesce(counted.days_observable, 0)::bigint as days_observable
    from grid
    left join counted
        on
            grid.effect = counted.effect
            and grid.window_days = counted.window_days
            and grid.excluded_last_days = counted.excluded_last_days
            and grid.ward = counted.ward
            and grid.indication = counted.indication
            and grid.days_observed = counted.days_observed
)

{% set cells = ['exposed_cases', 'exposed_controls', 'unexposed_cases', 'unexposed_controls'] -%}
select
    effect,
    exposure_atc,
    organism_code,
    agent_code,
    'hospital_only'::text as exposure_source,
    window_days,
    excluded_last_days,
    ward,
    indication,
    days_observed,
    exposed_cases,
    exposed_controls,
    unexposed_cases,
    unexposed_controls,
    {{ odds_ratio(*cells) }} as odds_ratio,
    {{ woolf_limit('low', *cells) }} as ci_low,
    {{ woolf_limit('high', *cells) }} as ci_high,
    case
        when exposed_cases + exposed_controls + unexposed_cases + unexposed_controls = 0 then 'nobody_counted'
        when least(exposed_cases, exposed_controls, unexposed_cases, unexposed_controls) = 0 then 'empty_cell'
    end as reason,
    index_isolates,
    exposed_cases + exposed_controls + unexposed_cases + unexposed_controls as people_counted,
    not_observable,
    not_tested,
    days_observable,
    {{ release_columns() }}
from filled
