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

-- Days of the window in a month of which the index hospital delivered administrations: any other month saw nothing.
observed as (
    select
        place.hospital_id,
        place.window_start,
        place.window_end,
        sum(
            least(place.window_end, (recorded.month + interval '1 month')::date - 1)
            - greatest(place.window_start, recorded.month)
            + 1
        ) as days_observable
    from (
        select distinct
            hospital_id,
            window_start,
            window_end
        from looked_back
    ) as place
    inner join {{ ref('record_month') }} as recorded
        on
            place.hospital_id = recorded.hospital_id
            and recorded.table_name = 'administration'
            and recorded.month between date_trunc('month', place.window_start)::date and place.window_end
    group by place.hospital_id, place.window_start, place.window_end
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
    coalesce(observed.days_observable, 0)::integer as days_observable,
    case
        when coalesce(observed.days_observable, 0) = 0 then 'not_observable'
        when tested.category is null then 'not_tested'
        else 'counted'
    end as standing
from {{ ref('exposure_effect') }} as effect
inner join looked_back on effect.organism_code = looked_back.organism_code
left join observed
    on
        looked_back.hospital_id = observed.hospital_id
        and looked_back.window_start = observed.window_start
        and looked_back.window_end = observed.window_end
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
