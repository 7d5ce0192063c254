with scoped as (
    select
        'hospital' as scope,
        hospital_id,
        patient_key,
        stay_key,
        admitted_at,
        counted_until as left_at
    from {{ ref('stay') }}
    where stay_type = 'full'
    union all
    select
        {{ the_group() }} as scope,
        null as hospital_id,
        stay.patient_key,
        stay.stay_key,
        stay.admitted_at,
        stay.counted_until as left_at
    from {{ ref('stay') }} as stay
    inner join {{ ref('hospital') }} as hospital on stay.hospital_id = hospital.hospital_id
    where
        stay.stay_type = 'full'
        and hospital.study_member
        and hospital.calendar is distinct from 'shifted'
        and stay.of_unknown_patient is not true
),

stepped as (
    select
        scope,
        hospital_id,
        patient_key,
        stay_key,
        admitted_at,
        left_at,
        max(left_at) over (
            partition by scope, hospital_id, patient_key
            order by admitted_at, stay_key
            rows between unbounded preceding and 1 preceding
        ) as left_before
    from scoped
),

numbered as (
    select
        scope,
        hospital_id,
        patient_key,
        admitted_at,
        left_at,
        count(*) filter (
            where
            left_before is null
            or admitted_at > left_before + interval '{{ var("stay_merge_gap_hours") | int }} hours'
        ) over (
            partition by scope, hospital_id, patient_key
            order by admitted_at, stay_key
            rows unbounded preceding
        ) as island
    from stepped
)

select
    md5(
        scope || '|' || coalesce(hospital_id, '') || '|' || patient_key || '|' || extract(epoch from min(admitted_at))
    ) as merged_stay_key,
    scope,
    hospital_id,
    patient_key,
    min(admitted_at) as admitted_at,
    max(left_at) as left_at,
    count(*) as records,
    {{ var("stay_merge_gap_hours") | int }} as gap_hours
from numbered
group by scope, hospital_id, patient_key, island
