{% from "_parts.sql" import omits, within %}
{# Temporary table apart_<table>. Grain: one row per landed record that is not the only version of its key, or is a deletion, or lies in the period
   of a full delivery that omits it. Every other record is current. Keys are looked for by a hash: two keys of one hash are ranked apart, too. What
   a table without a date of its own loses to a full delivery: ended_by_parent, ended_unnamed. #}
create or replace temp table {{ "apart_" ~ table }} as
with contested as materialized (
    select hash({{ key | join(", ") }}) as key_hash
    from {{ "landed_" ~ table }}
    group by key_hash
    having count(*) > 1
),

version as (
    select
        *,
        concat_ws('|', {{ key | join(", ") }}) as business_key,
        {% if period %}{{ period ~ "_local" }}::date{% else %}null::date{% endif %} as period_day
    from {{ "landed_" ~ table }}
),

ranked as (
    select
        *,
        row_number() over newest_first as place,
        op = 'upsert' and lead(delivery_id) over newest_first = delivery_id as twin
    from version
    where hash({{ key | join(", ") }}) in (select key_hash from contested)
    window newest_first as (
        partition by {{ key | join(", ") }}
        order by
            sequence desc, source_updated_at desc nulls last, source_file desc, line_number desc, delivery_id desc
    )
    union all
    select
        *,
        1 as place,
        false as twin
    from version
    where
        hash({{ key | join(", ") }}) not in (select key_hash from contested)
        and (
            op = 'delete'
            {% for full in fulls %}
            or ({{ omits(table, full, "version") }} and {{ within(full, "period_day") }})
            {% endfor %}
        )
)

select
    row_uid_hi,
    row_uid_lo,
    delivery_id,
    business_key,
    source_updated_at,
    op,
    place,
    coalesce(twin, false) as twin,
    case
        when place > 1 then 'replaced'
        when op = 'delete' then 'deleted'
        {% for full in fulls %}
        when {{ omits(table, full, "ranked") }} and {{ within(full, "period_day") }} then 'ended'
        {% endfor %}
        else 'current'
    end as state,
    false as undated
from ranked
