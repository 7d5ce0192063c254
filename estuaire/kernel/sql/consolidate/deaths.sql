{% from "_parts.sql" import is_current %}
{# Grain: one row per patient who died, merges applied: the end of the day of death, the first of several. #}
{% if patients_are_there %}
select
    coalesce(survivor.new_id, landed.patient_id) as patient_id,
    min(landed.death_date) + interval 1 day - interval 1 second as died_at_local
from landed_patient as landed
left join survivor on landed.patient_id = survivor.old_id
where landed.death_date is not null and {{ is_current("patient") }}
group by all
{% else %}
select null::varchar as patient_id, null::timestamp as died_at_local where false
{% endif %}
