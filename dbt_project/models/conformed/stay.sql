{{
    config(indexes=[
        {'columns': ['stay_key'], 'unique': true},
        {'columns': ['hospital_id', 'patient_key']},
    ])
}}

select
    md5(stay.hospital_id || '|' || stay.stay_id) as stay_key,
    stay.hospital_id,
    stay.stay_id,
    patient_link.patient_key,
    patient_link.of_unknown_patient,
    stay.stay_type,
    stay.admitted_at,
    stay.admitted_at_local,
    stay.discharged_at,
    stay.discharged_at_local,
    case
        when judged.is_dated then stay.ended_at
        else coalesce(judged.told_until_local at time zone hospital.timezone, stay.admitted_at)
    end as counted_until,
    case
        when judged.is_dated then stay.ended_at_local
        else coalesce(judged.told_until_local, stay.admitted_at_local)
    end as counted_until_local,
    not judged.is_dated as dates_cut,
    stay.entry_mode,
    stay.exit_mode,
    stay.stale_correction
from {{ ref('stg_stay') }} as stay
inner join {{ ref('patient_link') }} as patient_link
    on
        stay.hospital_id = patient_link.hospital_id
        and stay.patient_id = patient_link.patient_id
left join {{ ref('hospital') }} as hospital on stay.hospital_id = hospital.hospital_id
-- consolidation dates every end; where no record of the hospital can lie, or after the longest stay, is no date
cross join
    lateral (
        select
            coalesce(stay.admitted_at_local::date between hospital.first_day and hospital.last_day, false) as begins_within,
            stay.admitted_at_local + interval '{{ var("longest_stay_days") | int }} days' as longest_until_local,
            hospital.last_day + interval '1 day' - interval '1 second' as period_end_local
    ) as bound
cross join
    lateral (
        select
            coalesce(
                bound.begins_within
                and stay.ended_at_local <= least(bound.longest_until_local, bound.period_end_local),
                false
            ) as is_dated,
            case
                when
                    bound.begins_within
                    and hospital.latest_day is not null
                    and bound.period_end_local <= bound.longest_until_local
                    then bound.period_end_local
            end as told_until_local
    ) as judged
