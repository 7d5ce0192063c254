-- Hospital-months whose total is not the persons, drugs and days of antibiotic_day, or that one of the two lacks.
with treated as (
    select
        hospital_id,
        patient_key,
        given_on,
        count(*) as drugs,
        sum(oral_doses_without_ddd + parenteral_doses_without_ddd + doses - oral_doses - parenteral_doses)
            as without_ddd
    from {{ ref('antibiotic_day') }}
    group by hospital_id, patient_key, given_on
),

counted as (
    select
        hospital_id,
        date_trunc('month', given_on)::date as month,
        sum(drugs) as days_of_therapy,
        count(*) as length_of_therapy,
        sum(without_ddd) as doses_without_ddd
    from treated
    group by hospital_id, date_trunc('month', given_on)
),

mart as (
    select
        hospital_id,
        month,
        days_of_therapy,
        length_of_therapy,
        doses_without_ddd
    from {{ ref('antibiotic_consumption') }}
    where hospital_id <> 'group' and scope = 'all' and grouping = 'total' and covered
)

select
    coalesce(mart.hospital_id, counted.hospital_id) as hospital_id,
    coalesce(mart.month, counted.month) as month
from mart
full join counted
    on
        mart.hospital_id = counted.hospital_id
        and mart.month = counted.month
where
    mart.days_of_therapy is distinct from coalesce(counted.days_of_therapy, 0)
    or mart.length_of_therapy is distinct from coalesce(counted.length_of_therapy, 0)
    or mart.doses_without_ddd is distinct from coalesce(counted.doses_without_ddd, 0)
