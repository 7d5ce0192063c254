with dose as (
    select
        administration.hospital_id,
        patient_link.patient_key,
        administration.atc,
        administration.given_at_local::date as given_on,
        case
            when administration.route = 'oral' then 'oral'
            when administration.route in ('intravenous', 'intramuscular', 'subcutaneous') then 'parenteral'
        end as route_group,
        administration.dose,
        administration.dose_unit
    from {{ ref('stg_administration') }} as administration
    inner join {{ ref('antimicrobial') }} as antimicrobial on administration.atc = antimicrobial.atc
    inner join {{ ref('patient_link') }} as patient_link
        on
            administration.hospital_id = patient_link.hospital_id
            and administration.patient_id = patient_link.patient_id
    -- Another patient's stay does not resolve: the dose is then placed by its time.
    left join {{ ref('stay') }} as stay
        on
            administration.hospital_id = stay.hospital_id
            and administration.stay_id = stay.stay_id
            and patient_link.patient_key = stay.patient_key
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
                        and full_stay.patient_key = patient_link.patient_key
                        and full_stay.stay_type = 'full'
                        and administration.given_at between full_stay.admitted_at and full_stay.counted_until
                )
            )
        )
),

-- null where the dose has no amount, no unit that converts to the DDD's, or no DDD by its route
measured as (
    select
        dose.hospital_id,
        dose.patient_key,
        dose.atc,
        dose.given_on,
        dose.route_group,
        case when dose.dose > 0 then dose.dose * unit.factor end as amount
    from dose
    left join {{ ref('dose_unit_factor') }} as unit
        on
            dose.atc = unit.atc
            and dose.route_group = unit.route_group
            and dose.dose_unit = unit.dose_unit
)

select
    hospital_id,
    patient_key,
    atc,
    given_on,
    count(*) as doses,
    count(*) filter (where route_group = 'oral') as oral_doses,
    count(*) filter (where route_group = 'parenteral') as parenteral_doses,
    coalesce(trim_scale(sum(amount) filter (where route_group = 'oral')), 0) as oral_amount,
    coalesce(trim_scale(sum(amount) filter (where route_group = 'parenteral')), 0) as parenteral_amount,
    count(*) filter (where route_group = 'oral' and amount is null) as oral_doses_without_ddd,
    count(*) filter (where route_group = 'parenteral' and amount is null) as parenteral_doses_without_ddd
from measured
group by hospital_id, patient_key, atc, given_on
