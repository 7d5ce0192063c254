{% from "_parts.sql" import omits, within %}
{# Grain: one narrow row per landed record. What a table without a date of its own loses to a full delivery: ended_by_parent, unnamed. #}
create or replace temp table {{ "version_" ~ table }} as
select
    *,
    case
        when place > 1 then 'replaced'
        when op = 'delete' then 'deleted'
        {% for full in fulls %}
        when {{ omits(table, full, "ranked") }} and {{ within(full, "period_day") }} then 'ended'
        {% endfor %}
        else 'current'
    end as state,
    false as undated
from (
    select
        concat_ws('|', {{ key | join(", ") }}) as business_key,
        {% if period %}{{ period ~ "_local" }}::date{% else %}null::date{% endif %} as period_day,
        op,
        sequence,
        source_updated_at,
        delivery_id,
        row_uid_hi,
        row_uid_lo,
        row_number() over newest_first as place,
        op = 'upsert' and lead(delivery_id) over newest_first = delivery_id as twin
    from {{ "landed_" ~ table }}
    window newest_first as (
        partition by {{ key | join(", ") }}
        order by
            sequence desc, source_updated_at desc nulls last, source_file desc, line_number desc, delivery_id desc
    )
) as ranked
