{{
    config(indexes=[
        {'columns': ['stay_key'], 'unique': true},
        {'columns': ['hospital_id', 'patient_key']},
    ])
}}

with bounded as (
    select
        stay.hospital_id,
        stay.stay_id,
        patient_link.patient_key,
        patient_link.of_unknown_patient,
        stay.stay_type,
        stay.admitted_at,
        stay.admitted_at_local,
        stay.discharged_at,
        stay.discharged_at_local,
        stay.ended_at,
        stay.ended_at_local,
        stay.entry_mode,
        stay.exit_mode,
        stay.stale_correction,
        hospital.timezone,
        hospital.latest_day is not null as is_told,
        stay.admitted_at_local::date between hospital.first_day and hospital.last_day as begins_within,
        stay.admitted_at_local + interval '{{ var("longest_stay_days") | int }} days' as longest_until_local,
        hospital.last_day + interval '1 day' - interval '1 second' as period_end_local
    from {{ ref('stg_stay') }} as stay
    inner join {{ ref('patient_link') }} as patient_link
        on
            stay.hospital_id = patient_link.hospital_id
            and stay.patient_id = patient_link.patient_id
    left join {{ ref('hospital') }} as hospital on stay.hospital_id = hospital.hospital_id
),

-- consolidation dates every end; where no record of the hospital can lie, or after the longest stay, is no date
judged as (
    select
        hospital_id,
        stay_id,
        patient_key,
        of_unknown_patient,
        stay_type,
        admitted_at,
        admitted_at_local,
        discharged_at,
        discharged_at_local,
        ended_at,
        ended_at_local,
        entry_mode,
        exit_mode,
        stale_correction,
        timezone,
        coalesce(begins_within and ended_at_local <= least(longest_until_local, period_end_local), false) as is_dated,
        case
            when begins_within and is_told and period_end_local <= longest_until_local then period_end_local
        end as told_until_local
    from bounded
)

select
    md5(hospital_id || '|' || stay_id) as stay_key,
    hospital_id,
    stay_id,
    patient_key,
    of_unknown_patient,
    stay_type,
    admitted_at,
    admitted_at_local,
    discharged_at,
    discharged_at_local,
    case
        when is_dated then ended_at
        else coalesce(told_until_local at time zone timezone, admitted_at)
    end as counted_until,
    case
        when is_dated then ended_at_local
        else coalesce(told_until_local, admitted_at_local)
    end as counted_until_local,
    not is_dated as dates_cut,
    entry_mode,
    exit_mode,
    stale_correction
from judged
