{% from "_parts.sql" import is_current %}
{# Grain: one row per merge that stands, the deciding one of an old id last. #}
select
    landed.old_patient_id,
    landed.new_patient_id
from landed_patient_merge as landed
where {{ is_current("patient_merge") }}
order by landed.merged_at nulls first, landed.sequence, landed.new_patient_id
