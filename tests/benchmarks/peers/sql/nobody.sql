{# Grain: one row per patient identifier whose records cannot be one person's. #}
create or replace temp table nobody as
with born as (
    {% if "patient" in here %}
    select
        coalesce(survivor.new_id, patient.patient_id) as patient_id,
        min(patient.birth_date) as birth_date
    from current_patient as patient
    left join survivor on survivor.old_id = patient.patient_id
    group by all
    {% else %}
    select null::varchar as patient_id, null::date as birth_date where false
    {% endif %}
)

select distinct patient_id
from (
    {% if "patient" in here %}
    select coalesce(any_value(survivor.new_id), patient.patient_id) as patient_id
    from version_patient as patient
    left join survivor on survivor.old_id = patient.patient_id
    where
        patient.op = 'upsert'
        {% if not shifted %}
        and coalesce(patient.birth_date >= patient.latest_day - interval {{ years }} years, true)
        {% endif %}
    group by patient.patient_id
    having count(distinct year(patient.birth_date)) > {{ limits.birth_years }}
    union all
    {% for table, moment in dated if table in here %}
    select record.patient_id
    from {{ "current_" ~ table }} as record
    inner join born using (patient_id)
    group by record.patient_id
    having max(record.{{ moment }}) >= min(born.birth_date) + interval {{ years }} years
    union all
    {% endfor %}
    {% endif %}
    {% if "stay" in here %}
    select patient_id
    from (
        select
            patient_id,
            sum(change) over (partition by patient_id order by moment, change rows unbounded preceding) as stays
        from (
            select
                patient_id,
                unnest([admitted_at, discharged_at]) as moment,
                unnest([1, -1]) as change
            from (
                select distinct
                    patient_id,
                    admitted_at,
                    discharged_at
                from current_stay
                where stay_type__standard = 'full' and discharged_at > admitted_at
            )
        )
    )
    where stays > {{ limits.stays_at_once }}
    union all
    {% for table in naming_a_stay if table in here %}
    select record.patient_id
    from {{ "current_" ~ table }} as record
    inner join current_stay as stay on record.stay_id = stay.stay_id and record.patient_id <> stay.patient_id
    group by record.patient_id
    having count(distinct stay.patient_id) > {{ limits.patients_of_stays }}
    union all
    {% endfor %}
    {% endif %}
    {% if "specimen" in here %}
    select patient_id
    from current_specimen
    where collected_at_local <> collected_at_local::date
    group by patient_id, collected_at_local
    having count(distinct unit_code) > {{ limits.units_at_once }}
    union all
    select patient_id
    from current_specimen
    where collected_at_local is not null
    group by patient_id, collected_at_local::date
    having count(distinct unit_code) > {{ limits.units_a_day }} or count(*) > {{ limits.specimens_a_day }}
    union all
    {% endif %}
    select null::varchar as patient_id where false
)
