{# Grain: one row per patient who died: the end of the (first) day of death. #}
create or replace temp table death as
select
    patient_id,
    died_at_local,
    list_min(meanings(died_at_local, {{ zone }})) as died_at
from (
    {% if patients %}
    select
        coalesce(survivor.new_id, patient.patient_id) as patient_id,
        min(patient.death_date) + interval 1 day - interval 1 second as died_at_local
    from current_patient as patient
    left join survivor on survivor.old_id = patient.patient_id
    where patient.death_date is not null
    group by all
    {% else %}
    select null::varchar as patient_id, null::timestamp as died_at_local where false
    {% endif %}
)
