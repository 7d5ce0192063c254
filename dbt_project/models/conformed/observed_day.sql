with person as (
    select distinct patient_key
    from {{ ref('index_isolate') }}
),

stay_day as (
    select distinct
        spell.hospital_id,
        spell.patient_key,
        spell.admitted_on + days.n as day
    from {{ ref('study_spell') }} as spell
    inner join person on spell.patient_key = person.patient_key
    cross join lateral {{ days_of_stay('spell.admitted_on', 'spell.left_on') }} as days (n)
    where spell.stay_type = 'full'
)

select distinct
    stay_day.patient_key,
    stay_day.day
from stay_day
inner join {{ ref('administration_covered_month') }} as covered
    on
        stay_day.hospital_id = covered.hospital_id
        and date_trunc('month', stay_day.day::timestamp)::date = covered.month
