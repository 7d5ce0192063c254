{% from "_parts.sql" import omits, same_record %}
{# Grain: one row per current patient or unit that a full delivery omits. #}
create or replace temp table omitted as
select
    landed.row_uid_hi,
    landed.row_uid_lo,
    landed.delivery_id,
    version.business_key,
    version.source_updated_at
    {% for column in key %}
    , landed.{{ column }}
    {% endfor %}
from {{ "version_" ~ table }} as version
inner join {{ "landed_" ~ table }} as landed on {{ same_record("landed", "version") }}
where
    version.state = 'current'
    and (
        {% for full in fulls %}
        {{ omits(table, full, "version") }}
        {% if not loop.last %}or{% endif %}
        {% endfor %}
    )
