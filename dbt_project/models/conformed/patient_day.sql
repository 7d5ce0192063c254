-- persons by number: nights are compared by a number and a day, not by two texts
with full_stay as (
    select
        stay_key,
        hospital_id,
        patient_key,
        admitted_at_local,
        counted_until_local,
        dense_rank() over (order by hospital_id, patient_key) as person_number
    from {{ ref('stay') }}
    where stay_type = 'full'
),

person as (
    select distinct
        person_number,
        hospital_id,
        patient_key
    from full_stay
),

stay_night as (
    select distinct
        full_stay.person_number,
        full_stay.admitted_at_local::date + nights.n as night
    from full_stay
    cross join
        lateral {{ days_of_stay('full_stay.admitted_at_local::date', 'full_stay.counted_until_local::date - 1') }}
            as nights (n)
),

-- no movement reaches beyond its stay, on either side: a placeholder of 1900 would be a series of 45,000 days
held as (
    select
        full_stay.person_number,
        unit_stay.unit_stay_key,
        unit_stay.unit_key,
        unit_stay.unit_code,
        unit_stay.unit_type,
        unit_stay.rank,
        unit_stay.entered_at_local,
        greatest(unit_stay.entered_at_local, full_stay.admitted_at_local)::date as first_night,
        least(unit_stay.left_at_local, full_stay.counted_until_local)::date - 1 as last_night
    from {{ ref('unit_stay') }} as unit_stay
    inner join full_stay on unit_stay.stay_key = full_stay.stay_key
),

-- of overlapping movements the latest entered holds the patient at midnight
unit_night as (
    select distinct on (held.person_number, held.first_night + nights.n)
        held.person_number,
        held.first_night + nights.n as night,
        held.unit_key,
        held.unit_code,
        held.unit_type
    from held
    cross join lateral {{ days_of_stay('held.first_night', 'held.last_night') }} as nights (n)
    order by
        held.person_number asc,
        held.first_night + nights.n asc,
        held.entered_at_local desc,
        held.rank desc,
        held.unit_stay_key asc
)

select
    person.hospital_id,
    person.patient_key,
    stay_night.night,
    unit_night.unit_key,
    unit_night.unit_code,
    unit_night.unit_type
from stay_night
inner join person on stay_night.person_number = person.person_number
left join unit_night
    on
        stay_night.person_number = unit_night.person_number
        and stay_night.night = unit_night.night
