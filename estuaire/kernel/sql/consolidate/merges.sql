{% from "_parts.sql" import same_record %}
{# Grain: one row per merge that stands, the deciding one of an old id last. #}
select
    landed.old_patient_id,
    landed.new_patient_id
from landed_patient_merge as landed
inner join version_patient_merge as version on {{ same_record("version", "landed") }} and version.state = 'current'
order by landed.merged_at nulls first, landed.sequence, landed.new_patient_id
