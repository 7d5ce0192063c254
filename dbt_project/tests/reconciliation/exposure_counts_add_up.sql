-- Estimates whose people are not all accounted for (counted, not observable or not tested), which do not hold each
-- person with an index isolate once, or which say neither a number nor why there is none; and main estimates that count
-- somebody whom no hospital observed.
with held as (
    select
        organism_code,
        count(*) as people
    from {{ ref('index_isolate') }}
    group by organism_code
)

select
    mart.effect,
    mart.window_days,
    mart.excluded_last_days,
    mart.estimate
from {{ ref('exposure_resistance') }} as mart
left join held on mart.organism_code = held.organism_code
where
    mart.index_isolates <> coalesce(held.people, 0)
    or mart.index_isolates <> mart.people_counted + mart.not_observable + mart.not_tested
    or mart.people_counted
    <> mart.exposed_cases + mart.exposed_controls + mart.unexposed_cases + mart.unexposed_controls
    or (mart.odds_ratio is null) <> (mart.reason is not null)
    or (mart.odds_ratio is not null and not mart.odds_ratio between mart.ci_low and mart.ci_high)
    or (mart.estimate in ('crude', 'mantel_haenszel') and mart.mean_days_observable < 1)
