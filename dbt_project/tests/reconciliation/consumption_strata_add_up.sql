-- Cells of the group that are not the sum of its study hospitals (patient-days, which count a shared night once, and
-- days of therapy are gate 4's: consumption_group), and scopes that hold less than the narrower one. That parts add up
-- to a total is gate 4's, too: consumption_strata.
with mart as (
    select
        mart.hospital_id,
        mart.month,
        mart.scope,
        mart.grouping,
        mart.item,
        mart.ddd,
        mart.days_of_therapy,
        mart.length_of_therapy,
        mart.doses_without_ddd,
        hospital.study_member and coalesce(hospital.calendar, 'real') <> 'shifted' as in_group
    from {{ ref('antibiotic_consumption') }} as mart
    left join {{ ref('hospital') }} as hospital on mart.hospital_id = hospital.hospital_id
),

summed as (
    select
        month,
        scope,
        grouping,
        item,
        sum(ddd) as ddd,
        sum(length_of_therapy) as length_of_therapy,
        sum(doses_without_ddd) as doses_without_ddd
    from mart
    where in_group
    group by month, scope, grouping, item
)

select
    {{ the_group() }} as what,
    mart.hospital_id,
    mart.month,
    mart.scope,
    mart.item
from mart
left join summed
    on
        mart.month = summed.month
        and mart.scope = summed.scope
        and mart.grouping = summed.grouping
        and mart.item = summed.item
where
    mart.hospital_id = {{ the_group() }}
    and (
        mart.ddd is distinct from summed.ddd
        or mart.length_of_therapy is distinct from summed.length_of_therapy
        or mart.doses_without_ddd is distinct from summed.doses_without_ddd
    )
union all
select
    'scopes' as what,
    narrow.hospital_id,
    narrow.month,
    narrow.scope,
    narrow.item
from mart as narrow
left join mart as wide
    on
        narrow.hospital_id = wide.hospital_id
        and narrow.month = wide.month
        and narrow.grouping = wide.grouping
        and narrow.item = wide.item
        and wide.scope = case narrow.scope when 'esac' then 'spares' else 'all' end
where
    narrow.scope in ('esac', 'spares')
    and (
        wide.scope is null
        or narrow.ddd > wide.ddd
        or narrow.days_of_therapy > wide.days_of_therapy
        or narrow.length_of_therapy > wide.length_of_therapy
    )
