{# Grain: one row per landed record: its place among the versions of its key, newest first, and its state. #}
create or replace temp table {{ "version_" ~ table }} as
with ranked as (
    select
        *,
        {% if rejected %}concat_ws('|', {{ key | join(", ") }}){% else %}null::varchar{% endif %} as business_key,
        {% if period %}{{ period ~ "_local" }}::date{% else %}null::date{% endif %} as period_day,
        row_number() over newest_first as place,
        coalesce(op = 'upsert' and lead(delivery_id) over newest_first = delivery_id, false) as twin
    from read_parquet([{{ files }}])
    window newest_first as (
        partition by {{ key | join(", ") }}
        order by
            sequence desc, source_updated_at desc nulls last, source_file desc, line_number desc, record_number desc,
            delivery_id desc
    )
)

select
    *,
    case
        when place > 1 then 'replaced'
        when op = 'delete' then 'deleted'
        {% for full in fulls %}
        when sequence < {{ full.sequence }} and period_day >= {{ full.start }} and period_day < {{ full.end }}
            {% if rejected %}
            and business_key not in (
                select rejected.business_key from {{ "rejected_" ~ table }} as rejected
                where rejected.sequence = {{ full.sequence }}
            )
            {% endif %}
            then 'ended'
        {% endfor %}
        else 'current'
    end as state,
    false as undated
from ranked
