with looked_back as materialized (
    select
        index_isolate.organism_code,
        index_isolate.patient_key,
        index_isolate.isolate_key,
        index_isolate.hospital_id,
        index_isolate.index_on,
        index_isolate.ward,
        index_isolate.collected_at,
        index_isolate.spell_key,
        lookback.window_days,
        lookback.excluded_last_days,
        index_isolate.index_on - lookback.window_days as window_start,
        index_isolate.index_on - 1 - lookback.excluded_last_days as window_end
    from {{ ref('index_isolate') }} as index_isolate
    cross join {{ ref('exposure_lookback') }} as lookback
),

-- Every day from before the first window to the end of the last, and up to it the covered days of each hospital.
span as (
    select
        min(window_start) - 1 as first_day,
        max(window_end) as last_day
    from looked_back
),

calendar as (
    select
        span.first_day + days.n as day,
        date_trunc('month', (span.first_day + days.n)::timestamp)::date as month
    from span
    cross join lateral {{ days_of_period('span.first_day', 'span.last_day') }} as days (n)
),

covered as (
    select
        hospital.hospital_id,
        calendar.day,
        count(recorded.month) over (partition by hospital.hospital_id order by calendar.day) as days_until
    from {{ ref('hospital') }} as hospital
    cross join calendar
    left join {{ ref('administration_covered_month') }} as recorded
        on
            hospital.hospital_id = recorded.hospital_id
            and calendar.month = recorded.month
),

seen as (
    select
        looked_back.organism_code,
        looked_back.patient_key,
        looked_back.window_days,
        looked_back.excluded_last_days,
        count(*)::integer as days_observable
    from looked_back
    inner join {{ ref('observed_day') }} as observed_day
        on
            looked_back.patient_key = observed_day.patient_key
            and observed_day.day between looked_back.window_start and looked_back.window_end
    group by
        looked_back.organism_code,
        looked_back.patient_key,
        looked_back.window_days,
        looked_back.excluded_last_days
),

infected as (
    select distinct
        looked_back.organism_code,
        looked_back.patient_key,
        looked_back.window_days,
        looked_back.excluded_last_days
    from looked_back
    inner join {{ ref('infection_admission') }} as infection
        on
            looked_back.patient_key = infection.patient_key
            and infection.admitted_on between looked_back.window_start and looked_back.window_end
    where
        -- what the index stay was for is no indication of a drug given before: its diagnoses are coded at discharge
        infection.spell_key is distinct from looked_back.spell_key
        and not looked_back.collected_at between infection.spell_admitted_at and infection.spell_left_at
),

exposed as (
    select
        exposure_day.exposure_atc,
        looked_back.organism_code,
        looked_back.patient_key,
        looked_back.window_days,
        looked_back.excluded_last_days,
        count(*) as exposure_days,
        max(exposure_day.given_on) as last_given_on
    from looked_back
    inner join {{ ref('exposure_day') }} as exposure_day
        on
            looked_back.patient_key = exposure_day.patient_key
            and exposure_day.given_on between looked_back.window_start and looked_back.window_end
    group by
        exposure_day.exposure_atc,
        looked_back.organism_code,
        looked_back.patient_key,
        looked_back.window_days,
        looked_back.excluded_last_days
),

-- As the antibiogram counts: several results of one drug are one, any I is I, what nature made resistant is no result.
tested as (
    select
        result.isolate_key,
        result.agent_code,
        case result.interpretation
            when 'resistant' then 'R'
            when 'susceptible' then 'S'
            else 'I'
        end as category
    from {{ ref('isolate_result') }} as result
    where
        result.interpretation <> 'undetermined'
        -- the breakpoint that %R counts by: others (urinary) are another question
        and result.breakpoint_indication = 'general'
        and not result.is_intrinsic
        and result.agent_code in (select effect.agent_code from {{ ref('exposure_effect') }} as effect)
),

person as (
    select
        effect.effect,
        looked_back.window_days,
        looked_back.excluded_last_days,
        looked_back.patient_key,
        looked_back.isolate_key,
        looked_back.hospital_id,
        looked_back.index_on,
        looked_back.window_start,
        looked_back.window_end,
        looked_back.ward,
        case when infected.patient_key is null then 'none' else 'infection' end as indication,
        exposed.patient_key is not null as exposed,
        coalesce(exposed.exposure_days, 0) as exposure_days,
        looked_back.index_on - exposed.last_given_on as days_since_last,
        tested.category,
        coalesce(seen.days_observable, 0) as days_observable,
        (covered_at_end.days_until - covered_before.days_until)::integer as days_covered
    from {{ ref('exposure_effect') }} as effect
    inner join looked_back on effect.organism_code = looked_back.organism_code
    inner join covered as covered_before
        on
            looked_back.hospital_id = covered_before.hospital_id
            and looked_back.window_start - 1 = covered_before.day
    inner join covered as covered_at_end
        on
            looked_back.hospital_id = covered_at_end.hospital_id
            and looked_back.window_end = covered_at_end.day
    left join seen
        on
            looked_back.organism_code = seen.organism_code
            and looked_back.patient_key = seen.patient_key
            and looked_back.window_days = seen.window_days
            and looked_back.excluded_last_days = seen.excluded_last_days
    left join infected
        on
            looked_back.organism_code = infected.organism_code
            and looked_back.patient_key = infected.patient_key
            and looked_back.window_days = infected.window_days
            and looked_back.excluded_last_days = infected.excluded_last_days
    left join exposed
        on
            effect.exposure_atc = exposed.exposure_atc
            and looked_back.organism_code = exposed.organism_code
            and looked_back.patient_key = exposed.patient_key
            and looked_back.window_days = exposed.window_days
            and looked_back.excluded_last_days = exposed.excluded_last_days
    left join tested
        on
            looked_back.isolate_key = tested.isolate_key
            and effect.agent_code = tested.agent_code
)

select
    effect,
    window_days,
    excluded_last_days,
    patient_key,
    isolate_key,
    hospital_id,
    index_on,
    window_start,
    window_end,
    ward,
    indication,
    exposed,
    exposure_days,
    days_since_last,
    category,
    category = 'R' as resistant,
    days_observable,
    case
        when days_observable = 0 then 'none'
        when days_observable <= 3 then '1-3'
        when days_observable <= 14 then '4-14'
        else '> 14'
    end as days_observed,
    days_covered,
    case
        when days_observable = 0 then 'not_observable'
        when category is null then 'not_tested'
        else 'counted'
    end as standing,
    case
        when days_observable = 0 and days_covered = 0 then 'not_observable'
        when category is null then 'not_tested'
        else 'counted'
    end as standing_unrestricted
from person
