-- persons by number: millions of doses are grouped by a number and a day, not by two texts
with person as (
    select
        hospital_id,
        patient_id,
        patient_key,
        dense_rank() over (order by hospital_id, patient_key) as person_number
    from {{ ref('patient_link') }}
),

dose as (
    select
        person.person_number,
        administration.atc,
        administration.given_at_local::date as given_on,
        administration.route,
        case when administration.dose > 0 then administration.dose end as dose,
        administration.dose_unit
    from {{ ref('stg_administration') }} as administration
    inner join {{ ref('antimicrobial') }} as antimicrobial on administration.atc = antimicrobial.atc
    inner join person
        on
            administration.hospital_id = person.hospital_id
            and administration.patient_id = person.patient_id
    -- Another patient's stay does not resolve: the dose is then placed by its time.
    left join {{ ref('stay') }} as stay
        on
            administration.hospital_id = stay.hospital_id
            and administration.stay_id = stay.stay_id
            and person.patient_key = stay.patient_key
    where
        administration.status = 'given'
        and (
            stay.stay_type = 'full'
            or (
                stay.stay_key is null
                and exists (
                    select 1
                    from {{ ref('stay') }} as full_stay
                    where
                        full_stay.hospital_id = administration.hospital_id
                        and full_stay.patient_key = person.patient_key
                        and full_stay.stay_type = 'full'
                        and administration.given_at between full_stay.admitted_at and full_stay.counted_until
                )
            )
        )
),

route_group (route, route_group) as (
    values
    ('oral', 'oral'), ('intravenous', 'parenteral'), ('intramuscular', 'parenteral'), ('subcutaneous', 'parenteral')
),

unit as (
    select
        dose_unit_factor.atc,
        route_group.route,
        dose_unit_factor.dose_unit,
        dose_unit_factor.factor
    from {{ ref('dose_unit_factor') }} as dose_unit_factor
    inner join route_group on dose_unit_factor.route_group = route_group.route_group
),

-- amount is null where the dose has no amount, no unit that converts to the DDD's, or no DDD by its route
measured as (
    select
        dose.person_number,
        dose.atc,
        dose.given_on,
        dose.route = 'oral' as by_mouth,
        dose.route in ('intravenous', 'intramuscular', 'subcutaneous') as by_injection,
        dose.dose * unit.factor as amount
    from dose
    left join unit
        on
            dose.atc = unit.atc
            and dose.route = unit.route
            and dose.dose_unit = unit.dose_unit
),

summed as (
    select
        person_number,
        atc,
        given_on,
        count(*) as doses,
        count(*) filter (where by_mouth) as oral_doses,
        count(*) filter (where by_injection) as parenteral_doses,
        sum(amount) filter (where by_mouth) as oral_amount,
        sum(amount) filter (where by_injection) as parenteral_amount,
        count(*) filter (where by_mouth and amount is null) as oral_doses_without_ddd,
        count(*) filter (where by_injection and amount is null) as parenteral_doses_without_ddd
    from measured
    group by person_number, atc, given_on
),

numbered as (
    select distinct
        person_number,
        hospital_id,
        patient_key
    from person
)

select
    numbered.hospital_id,
    numbered.patient_key,
    summed.atc,
    summed.given_on,
    summed.doses,
    summed.oral_doses,
    summed.parenteral_doses,
    coalesce(trim_scale(summed.oral_amount), 0) as oral_amount,
    coalesce(trim_scale(summed.parenteral_amount), 0) as parenteral_amount,
    summed.oral_doses_without_ddd,
    summed.parenteral_doses_without_ddd
from summed
inner join numbered on summed.person_number = numbered.person_number
