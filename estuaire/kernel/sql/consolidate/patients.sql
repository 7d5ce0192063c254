{% from "_parts.sql" import same_record %}
select landed.patient_id
from landed_patient as landed
inner join version_patient as version on {{ same_record("version", "landed") }} and version.state = 'current'
