-- Months whose group row is not the sum of its study hospitals, or whose wider scope holds less than a narrower one.
with summed as (
    select
        mart.month,
        mart.scope,
        sum(mart.patient_days) as patient_days,
        sum(mart.days_of_therapy) as days_of_therapy
    from {{ ref('antibiotic_days_of_therapy') }} as mart
    inner join {{ ref('hospital') }} as hospital on mart.hospital_id = hospital.hospital_id
    where hospital.study_member
    group by mart.month, mart.scope
)

select
    mart.month,
    mart.scope
from {{ ref('antibiotic_days_of_therapy') }} as mart
left join summed
    on
        mart.month = summed.month
        and mart.scope = summed.scope
where
    mart.hospital_id = 'group'
    and (
        mart.patient_days is distinct from summed.patient_days
        or mart.days_of_therapy is distinct from summed.days_of_therapy
    )
union all
select
    narrow.month,
    narrow.scope
from {{ ref('antibiotic_days_of_therapy') }} as narrow
inner join {{ ref('antibiotic_days_of_therapy') }} as wide
    on
        narrow.hospital_id = wide.hospital_id
        and narrow.month = wide.month
where
    (narrow.scope, wide.scope) in (('esac', 'spares'), ('spares', 'all'))
    and narrow.days_of_therapy > wide.days_of_therapy
