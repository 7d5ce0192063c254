{# Grain: one row per current record, with the patient id that it bears after merges. #}
create or replace temp table {{ "current_" ~ table }} as
select
    version.*
    {% if moved %}
    replace (coalesce(survivor.new_id, version.patient_id) as patient_id)
    {% endif %}
    {% for column in coded %}
    , {{ "map_" ~ column }}.standard as {{ column ~ "__standard" }}
    {% endfor %}
from {{ "version_" ~ table }} as version
{% if moved %}
left join survivor on survivor.old_id = version.patient_id
{% endif %}
{% for column in coded %}
left join {{ "map_" ~ column }} on {{ "map_" ~ column }}.local = version.{{ column }}
{% endfor %}
where version.state = 'current'
