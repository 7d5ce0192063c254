{% from "_parts.sql" import same_record %}
{# Temporary view version_<table>. Grain: one narrow row per landed record. #}
create or replace temp view {{ "version_" ~ table }} as
select
    concat_ws('|', {% for column in key %}landed.{{ column }}{% if not loop.last %}, {% endif %}{% endfor %}) as business_key,
    {% if period %}landed.{{ period ~ "_local" }}::date{% else %}null::date{% endif %} as period_day,
    landed.sequence,
    landed.source_updated_at,
    landed.row_uid_hi,
    landed.row_uid_lo,
    coalesce(apart.place, 1) as place,
    coalesce(apart.state, 'current') as state
from {{ "landed_" ~ table }} as landed
left join {{ "apart_" ~ table }} as apart on {{ same_record("apart", "landed") }}
