{# Grain: one row per key of which the delivery that is served held two different records of the same moment. #}
create or replace temp table {{ "twice_" ~ table }} as
select
    {% for column in key %}
    version.{{ column }}{% if not loop.last %}, {% endif %}
    {% endfor %}
from {{ "version_" ~ table }} as version
inner join {{ "version_" ~ table }} as top
    on
        top.place = 1 and top.twin and version.delivery_id = top.delivery_id
        and version.source_updated_at is not distinct from top.source_updated_at
        {% for column in key %}
        and version.{{ column }} is not distinct from top.{{ column }}
        {% endfor %}
where version.op = 'upsert'
group by all
having count(distinct ({% for column in columns %}version.{{ column }}, {% endfor %}1)) > 1
