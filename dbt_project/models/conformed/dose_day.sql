-- persons by number: millions of doses are grouped by a number and a day, not by two texts
with person as (
    select
        hospital_id,
        patient_id,
        patient_key,
        dense_rank() over (order by hospital_id, patient_key) as person_number
    from {{ ref('patient_link') }}
),

numbered as (
    select distinct
        person_number,
        hospital_id,
        patient_key
    from person
),

full_stay as (
    select
        numbered.person_number,
        stay.stay_key,
        stay.admitted_at,
        stay.counted_until
    from {{ ref('stay') }} as stay
    inner join numbered
        on
            stay.hospital_id = numbered.hospital_id
            and stay.patient_key = numbered.patient_key
    where stay.stay_type = 'full'
),

stepped as (
    select
        person_number,
        admitted_at,
        counted_until,
        max(counted_until) over (
            partition by person_number
            order by admitted_at, counted_until
            rows between unbounded preceding and 1 preceding
        ) as until_before
    from full_stay
),

islands as (
    select
        person_number,
        admitted_at,
        counted_until,
        count(*) filter (where until_before is null or admitted_at > until_before) over (
            partition by person_number
            order by admitted_at, counted_until
            rows unbounded preceding
        ) as island
    from stepped
),

-- when a person is in full hospitalisation: spans that do not touch, so that a moment lies in one at the most
full_span as (
    select
        person_number,
        min(admitted_at) as admitted_at,
        max(counted_until) as counted_until
    from islands
    group by person_number, island
),

-- where: of overlapping movements the latest entered holds the patient, until the next one
unit_span as (
    select
        full_stay.person_number,
        unit_stay.unit_type,
        unit_stay.entered_at,
        least(
            unit_stay.left_at,
            full_stay.counted_until,
            lead(unit_stay.entered_at) over (
                partition by full_stay.person_number
                order by unit_stay.entered_at, unit_stay.rank, unit_stay.unit_type
            )
        ) as left_at
    from {{ ref('unit_stay') }} as unit_stay
    inner join full_stay on unit_stay.stay_key = full_stay.stay_key
),

dose as (
    select
        person.person_number,
        administration.hospital_id,
        administration.atc,
        administration.given_at_local::date as given_on,
        administration.route,
        case when administration.dose > 0 then administration.dose end as dose,
        administration.dose_unit,
        unit_span.unit_type,
        case
            when full_span.person_number is not null then 'full'
            when
                exists (
                    select 1
                    from {{ ref('stay') }} as other_stay
                    where
                        other_stay.hospital_id = person.hospital_id
                        and other_stay.patient_key = person.patient_key
                        and administration.given_at between other_stay.admitted_at and other_stay.counted_until
                )
                then 'other_stay'
            else 'outside'
        end as place
    from {{ ref('stg_administration') }} as administration
    inner join person
        on
            administration.hospital_id = person.hospital_id
            and administration.patient_id = person.patient_id
    left join full_span
        on
            person.person_number = full_span.person_number
            and administration.given_at between full_span.admitted_at and full_span.counted_until
    left join unit_span
        on
            person.person_number = unit_span.person_number
            and administration.given_at >= unit_span.entered_at
            and administration.given_at < unit_span.left_at
    where
        administration.status = 'given'
        and (
            administration.atc is null
            or administration.atc in (select known.atc from {{ ref('antimicrobial') }} as known)
        )
),

route_group (route, route_group) as (
    values
    ('oral', 'oral'), ('intravenous', 'parenteral'), ('intramuscular', 'parenteral'), ('subcutaneous', 'parenteral'),
    ('inhalation', 'inhalation'), ('inhalation_powder', 'inhalation_powder')
),

unit as (
    select
        dose_unit_factor.atc,
        route_group.route,
        dose_unit_factor.route_group,
        dose_unit_factor.dose_unit,
        dose_unit_factor.factor,
        dose_unit_factor.ddd
    from {{ ref('dose_unit_factor') }} as dose_unit_factor
    inner join route_group on dose_unit_factor.route_group = route_group.route_group
),

-- amount is of the substance that the DDD counts, in the DDD's unit (of a combination: grams); null where the dose has
-- no amount, no unit that converts to the DDD's, no DDD by its route, or is of a product whose strength is not known
measured as (
    select
        dose.person_number,
        dose.atc,
        dose.given_on,
        dose.place,
        dose.unit_type,
        dose.route = 'oral' as by_mouth,
        dose.route in ('intravenous', 'intramuscular', 'subcutaneous') as by_injection,
        unit.ddd,
        case
            when product.atc is null then dose.dose * unit.factor
            else coalesce(round(dose.dose * unit.factor * product.share, 9), combination_dose.substance_g)
        end as amount
    from dose
    left join unit
        on
            dose.atc = unit.atc
            and dose.route = unit.route
            and dose.dose_unit = unit.dose_unit
    left join {{ ref('product_dose_drug') }} as product
        on
            dose.hospital_id = product.hospital_id
            and dose.atc = product.atc
            and unit.route_group = product.route_group
    left join {{ ref('combination_dose') }} as combination_dose
        on
            product.atc = combination_dose.atc
            and product.route_group = combination_dose.route_group
            and dose.dose * unit.factor = combination_dose.product_g
),

summed as (
    select
        person_number,
        atc,
        given_on,
        place,
        unit_type,
        count(*) as doses,
        count(*) filter (where by_mouth) as oral_doses,
        count(*) filter (where by_injection) as parenteral_doses,
        sum(amount) filter (where by_mouth) as oral_amount,
        sum(amount) filter (where by_injection) as parenteral_amount,
        sum(amount / ddd) filter (where not by_mouth and not by_injection) as other_ddd,
        count(*) filter (where by_mouth and amount is null) as oral_doses_without_ddd,
        count(*) filter (where by_injection and amount is null) as parenteral_doses_without_ddd,
        count(*) filter (where amount is null) as doses_without_ddd
    from measured
    group by person_number, atc, given_on, place, unit_type
)

select
    numbered.hospital_id,
    numbered.patient_key,
    coalesce(summed.atc, 'unmapped') as atc,
    summed.given_on,
    summed.place,
    coalesce(summed.unit_type, 'unknown') as unit_type,
    summed.doses,
    summed.oral_doses,
    summed.parenteral_doses,
    coalesce(trim_scale(summed.oral_amount), 0) as oral_amount,
    coalesce(trim_scale(summed.parenteral_amount), 0) as parenteral_amount,
    coalesce(trim_scale(round(summed.other_ddd, 8)), 0) as other_ddd,
    summed.oral_doses_without_ddd,
    summed.parenteral_doses_without_ddd,
    summed.doses_without_ddd - summed.oral_doses_without_ddd - summed.parenteral_doses_without_ddd
        as other_doses_without_ddd
from summed
inner join numbered on summed.person_number = numbered.person_number
