-- Spans of nights are compared, not nights: those in one unit, and those in none; each night is in one span, laid out
-- last. Persons by number: a number and a day are compared, not two texts.
with full_stay as (
    select
        stay_key,
        hospital_id,
        patient_key,
        admitted_at_local,
        counted_until_local,
        dense_rank() over (order by hospital_id, patient_key) as person_number,
        admitted_at_local::date as first_night,
        counted_until_local::date - 1 as last_night
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

-- a person's movements, and whether another one overlaps
movement as (
    select
        person_number,
        unit_stay_key,
        unit_key,
        unit_code,
        unit_type,
        rank,
        entered_at_local,
        first_night,
        last_night,
        coalesce(
            first_night <= max(last_night) over (in_order rows between unbounded preceding and 1 preceding), false
        )
        or coalesce(lead(first_night) over in_order <= last_night, false) as is_contested
    from held
    where first_night <= last_night
    window in_order as (
        partition by person_number
        order by first_night, last_night, unit_stay_key
    )
),

-- of overlapping movements the latest entered holds the patient at midnight
contested_night as (
    select distinct on (movement.person_number, movement.first_night + nights.n)
        movement.person_number,
        movement.first_night + nights.n as night,
        movement.unit_key,
        movement.unit_code,
        movement.unit_type
    from movement
    cross join lateral {{ days_of_stay('movement.first_night', 'movement.last_night') }} as nights (n)
    where movement.is_contested
    order by
        movement.person_number asc,
        movement.first_night + nights.n asc,
        movement.entered_at_local desc,
        movement.rank desc,
        movement.unit_stay_key asc
),

-- where stays and movements begin: from one to the next, a stay's nights beyond every movement so far are in no unit
edge as (
    select
        person_number,
        first_night,
        last_night as stay_until,
        null as unit_until
    from full_stay
    union all
    select
        person_number,
        first_night,
        null as stay_until,
        last_night as unit_until
    from movement
),

in_no_unit as (
    select
        person_number,
        greatest(first_night, max(unit_until) over in_order + 1) as first_night,
        least(max(stay_until) over in_order, lead(first_night) over in_order - 1) as last_night
    from edge
    window in_order as (
        partition by person_number
        order by first_night
        rows unbounded preceding
    )
),

span as (
    select
        person_number,
        first_night,
        last_night,
        unit_key,
        unit_code,
        unit_type
    from movement
    where not is_contested
    union all
    select
        person_number,
        night as first_night,
        night as last_night,
        unit_key,
        unit_code,
        unit_type
    from contested_night
    union all
    select
        person_number,
        first_night,
        last_night,
        null as unit_key,
        null as unit_code,
        null as unit_type
    from in_no_unit
    where first_night <= last_night
)

select
    person.hospital_id,
    person.patient_key,
    span.first_night + nights.n as night,
    span.unit_key,
    span.unit_code,
    span.unit_type
from span
inner join person on span.person_number = person.person_number
cross join lateral {{ days_of_period('span.first_night', 'span.last_night') }} as nights (n)
