select
    stay.stay_key,
    stay.hospital_id,
    stay.patient_key,
    stay.stay_type,
    stay.admitted_at_local::date as admitted_on,
    greatest(stay.admitted_at_local, stay.counted_until_local)::date as left_on,
    coalesce(spell.merged_stay_key, stay.stay_key) as spell_key,
    coalesce(spell.admitted_at, stay.admitted_at) as spell_admitted_at,
    coalesce(spell.left_at, greatest(stay.admitted_at, stay.counted_until)) as spell_left_at
from {{ ref('stay') }} as stay
inner join {{ ref('hospital') }} as hospital
    on
        stay.hospital_id = hospital.hospital_id
        and hospital.study_member
        and hospital.calendar is distinct from 'shifted'
left join {{ ref('merged_stay') }} as spell
    on
        stay.stay_type = 'full'
        and spell.scope = {{ the_group() }}
        and stay.patient_key = spell.patient_key
        and stay.admitted_at between spell.admitted_at and spell.left_at
-- stays of many under one identifier are no time of one person
where stay.of_unknown_patient is not true
