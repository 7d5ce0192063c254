-- Hospital-months whose total is not the person, drug and days of antibiotic_day, or whose drugs were given on more days than doses.
with counted as (
    select
        hospital_id,
        date_trunc('month', given_on)::date as month,
        count(*) as days_of_therapy,
        count(distinct (patient_key, given_on)) as length_of_therapy,
        sum(oral_doses_without_ddd + parenteral_doses_without_ddd + doses - oral_doses - parenteral_doses) as doses_without_ddd
    from {{ ref('antibiotic_day') }}
    group by hospital_id, date_trunc('month', given_on)
)

select
    mart.hospital_id,
    mart.month
from {{ ref('antibiotic_consumption') }} as mart
full join counted
    on
        mart.hospital_id = counted.hospital_id
        and mart.month = counted.month
where
    (mart.hospital_id is null or (mart.hospital_id <> 'group' and mart.scope = 'all' and mart.grouping = 'total' and mart.covered))
    and (
        mart.days_of_therapy is distinct from coalesce(counted.days_of_therapy, 0)
        or mart.length_of_therapy is distinct from coalesce(counted.length_of_therapy, 0)
        or mart.doses_without_ddd is distinct from coalesce(counted.doses_without_ddd, 0)
    )
