{% from "_parts.sql" import is_current %}
select landed.patient_id
from landed_patient as landed
where {{ is_current("patient") }}
