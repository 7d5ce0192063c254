select
    hospital_id,
    patient_key,
    atc,
    given_on,
    sum(doses)::bigint as doses,
    sum(oral_doses)::bigint as oral_doses,
    sum(parenteral_doses)::bigint as parenteral_doses,
    sum(oral_amount) as oral_amount,
    sum(parenteral_amount) as parenteral_amount,
    sum(other_ddd) as other_ddd,
    sum(oral_doses_without_ddd)::bigint as oral_doses_without_ddd,
    sum(parenteral_doses_without_ddd)::bigint as parenteral_doses_without_ddd,
    sum(other_doses_without_ddd)::bigint as other_doses_without_ddd
from {{ ref('dose_day') }}
where
    place = 'full'
    and atc <> 'unmapped'
group by hospital_id, patient_key, atc, given_on
