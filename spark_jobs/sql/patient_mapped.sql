{# Grain: one row per local patient: who he is, and by what. #}
with method as (
    select
        node,
        max(split_part(token, '|', 1)) filter (where agrees and members > 1) as linked,
        bool_or(not agrees) as refused
    from claims group by node
)
select
    base.hospital_id,
    base.patient_id,
    md5(coalesce(labels.label, 'local|' || base.node)) as patient_key,
    coalesce(method.linked, case when method.refused then 'conflict' end, 'none') as link_method
from base left join labels using (node) left join method using (node)
order by base.hospital_id, base.patient_id
