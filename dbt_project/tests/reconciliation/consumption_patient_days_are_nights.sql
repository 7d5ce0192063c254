-- Rows of the mart whose patient-days are not the nights counted, or that publish a measure without coverage.
with nights as (
    select
        hospital_id,
        date_trunc('month', night)::date as month,
        count(*) as patient_days
    from {{ ref('patient_day') }}
    group by hospital_id, date_trunc('month', night)
)

select
    mart.hospital_id,
    mart.month,
    mart.scope,
    mart.grouping,
    mart.item
from {{ ref('antibiotic_consumption') }} as mart
left join nights
    on
        mart.hospital_id = nights.hospital_id
        and mart.month = nights.month
where
    (
        mart.hospital_id <> 'group'
        and mart.covered
        and mart.patient_days is distinct from coalesce(nights.patient_days, 0)
    )
    or (
        not mart.covered
        and coalesce(mart.patient_days, mart.ddd, mart.days_of_therapy, mart.length_of_therapy, mart.doses_without_ddd)
        is not null
    )
