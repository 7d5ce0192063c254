-- Questions whose people are not all accounted for: counted, not observable or not tested; or whose estimate lacks its reason.
select
    effect,
    window_days,
    excluded_last_days,
    estimate
from {{ ref('exposure_resistance') }}
where
    index_isolates <> people_counted + not_observable + not_tested
    or people_counted <> exposed_cases + exposed_controls + unexposed_cases + unexposed_controls
    or (odds_ratio is null) <> (reason is not null)
    or (odds_ratio is not null and not odds_ratio between ci_low and ci_high)
union all
-- and those that do not hold each person with an index isolate of the organism once
select
    mart.effect,
    mart.window_days,
    mart.excluded_last_days,
    mart.estimate
from {{ ref('exposure_resistance') }} as mart
left join (
    select
        organism_code,
        count(*) as people
    from {{ ref('index_isolate') }}
    group by organism_code
) as held on mart.organism_code = held.organism_code
where mart.index_isolates <> coalesce(held.people, 0)
