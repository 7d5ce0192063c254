{% from "_parts.sql" import current, standard %}
{# Grain: one row per patient identifier, merges applied, that breaks one of the hospital's limits. #}
create or replace temp table not_one_person as
select distinct patient_id
from (
    {% if "patient" in delivered %}
    {# years of birth that the versions of the patient's record had; a provisional one, of nobody alive, is none #}
    select coalesce(any_value(survivor.new_id), patient_id) as patient_id
    from landed_patient
    left join survivor on old_id = patient_id
    where
        op = 'upsert'
        {% if not shifted %}
        and coalesce(birth_date >= latest_day - interval {{ limits.years_of_age + 1 }} years, true)
        {% endif %}
    group by patient_id
    having count(distinct year(birth_date)) > {{ limits.birth_years }}
    union all
    {# records of a time at which nobody so born is alive: the birth of a provisional identity #}
    {% for table, moment in dated if table in delivered %}
    select record.patient_id
    from {% call current(table, [moment]) %}true{% endcall %} as record
    inner join {% call current("patient", ["birth_date"]) %}true{% endcall %} as born using (patient_id)
    group by record.patient_id
    having max(record.{{ moment }}) >= min(born.birth_date) + interval {{ limits.years_of_age + 1 }} years
    union all
    {% endfor %}
    {% endif %}
    {% if "stay" in delivered %}
    {# full stays open at the same moment, each with the discharge that its hospital wrote; the same stay under two numbers is one #}
    (
        with own as (
            select distinct *
            from {% call current("stay", ["admitted_at", "discharged_at"], stay_codes) %}
                {{ standard("stay_type") }} = 'full' and landed.discharged_at > landed.admitted_at
            {% endcall %} as full_stay
        ),

        step as (
            select
                patient_id,
                admitted_at as moment,
                1 as change
            from own
            union all
            select
                patient_id,
                discharged_at,
                -1
            from own
        ),

        {# one that ends at the moment at which another begins was before it #}
        open_stays as (
            select
                patient_id,
                sum(change) over (partition by patient_id order by moment, change rows unbounded preceding) as stays
            from step
        )

        select patient_id from open_stays
        where stays > {{ limits.stays_at_once }}
    )
    union all
    {# records that name the stays of other patients, of so many of them that it is no slip #}
    {% for table in naming_a_stay if table in delivered %}
    select record.patient_id
    from {% call current(table, ["stay_id"]) %}landed.stay_id is not null{% endcall %} as record
    inner join {% call current("stay", ["stay_id"]) %}true{% endcall %} as stay
        on record.stay_id = stay.stay_id and record.patient_id <> stay.patient_id
    group by record.patient_id
    having count(distinct stay.patient_id) > {{ limits.patients_of_stays }}
    union all
    {% endfor %}
    {% endif %}
    {% if "specimen" in delivered %}
    {# specimens of one moment from several units; midnight is a date without a time: one day, not one moment #}
    select patient_id
    from {% call current("specimen", ["collected_at_local", "unit_code"]) %}
        landed.collected_at_local is not null
    {% endcall %} as taken
    where collected_at_local <> date_trunc('day', collected_at_local)
    group by patient_id, collected_at_local
    having count(distinct unit_code) > {{ limits.units_at_once }}
    union all
    {# specimens of one day from more units than a patient passes, or more than are taken in a day #}
    select patient_id
    from {% call current("specimen", ["collected_at_local", "unit_code"]) %}
        landed.collected_at_local is not null
    {% endcall %} as taken
    group by patient_id, collected_at_local::date
    having count(distinct unit_code) > {{ limits.units_a_day }} or count(*) > {{ limits.specimens_a_day }}
    union all
    {% endif %}
    {# none where nothing was delivered that could be a sign #}
    select null::varchar as patient_id where false
) as sign
