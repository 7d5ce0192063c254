-- Hospital-months whose total is not the persons, drugs and days of antibiotic_day, or that one of the two lacks.
with treated as (
    select
        hospital_id,
        patient_key,
        given_on,
        count(*) as drugs,
        sum(oral_doses_without_ddd + parenteral_doses_without_ddd + other_doses_without_ddd) as without_ddd
    from {{ ref('antibiotic_day') }}
    group by hospital_id, patient_key, given_on
),

counted as (
    select
        treated.hospital_id,
        date_trunc('month', treated.given_on)::date as month,
        sum(treated.drugs) as days_of_therapy,
        count(*) as length_of_therapy,
        sum(treated.without_ddd) as doses_without_ddd
    from treated
    inner join {{ ref('hospital_month') }} as hospital_month
        on
            treated.hospital_id = hospital_month.hospital_id
            and hospital_month.month = date_trunc('month', treated.given_on)::date
            and hospital_month.covered
    group by treated.hospital_id, date_trunc('month', treated.given_on)
),

mart as (
    select
        hospital_id,
        month,
        days_of_therapy,
        length_of_therapy,
        doses_without_ddd
    from {{ ref('antibiotic_consumption') }}
    where hospital_id <> {{ the_group() }} and scope = 'all' and grouping = 'total' and covered
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
