with looked_back as materialized (
    select
        index_isolate.organism_code,
        index_isolate.patient_key,
        index_isolate.isolate_key,
        index_isolate.hospital_id,
        index_isolate.index_on,
        index_isolate.ward,
        lookback.window_days,
        lookback.excluded_last_days,
        index_isolate.index_on - lookback.window_days as window_start,
        index_isolate.index_on - 1 - lookback.excluded_last_days as window_end
    from {{ ref('index_isolate') }} as index_isolate
    cross join {{ ref('exposure_lookback') }} as lookback
),

-- Every day from before the first window to the end of the last, and up to it the observed days of each hospital: those
-- of months of which the hospital delivered administrations. Any other month saw nothing.
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
    cross join lateral generate_series(0, span.last_day - span.first_day) as days (n)
),

observed as (
    select
        hospital.hospital_id,
        calendar.day,
        count(recorded.month) over (partition by hospital.hospital_id order by calendar.day) as days_until
    from {{ ref('hospital') }} as hospital
    cross join calendar
    left join {{ ref('record_month') }} as recorded
        on
            hospital.hospital_id = recorded.hospital_id
            and calendar.month = recorded.month
            and recorded.table_name = 'administration'
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

-- A drug tested twice on one isolate counts as its most resistant result.
tested as (
    select
        susceptibility.isolate_key,
        susceptibility.agent_code,
        case max(case susceptibility.category when 'R' then 3 when 'I' then 2 when 'S' then 1 end)
            when 3 then 'R'
            when 2 then 'I'
            when 1 then 'S'
        end as category
    from {{ ref('susceptibility') }} as susceptibility
    inner join {{ ref('index_isolate') }} as index_isolate
        on susceptibility.isolate_key = index_isolate.isolate_key
    where susceptibility.agent_code in (select effect.agent_code from {{ ref('exposure_effect') }} as effect)
    group by susceptibility.isolate_key, susceptibility.agent_code
)

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
    tested.category = 'R' as resistant,
    (observed_at_end.days_until - observed_before.days_until)::integer as days_observable,
    case
        when observed_at_end.days_until = observed_before.days_until then 'not_observable'
        when tested.category is null then 'not_tested'
        else 'counted'
    end as standing
from {{ ref('exposure_effect') }} as effect
inner join looked_back on effect.organism_code = looked_back.organism_code
inner join observed as observed_before
    on
        looked_back.hospital_id = observed_before.hospital_id
        and looked_back.window_start - 1 = observed_before.day
inner join observed as observed_at_end
    on
        looked_back.hospital_id = observed_at_end.hospital_id
        and looked_back.window_end = observed_at_end.day
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
