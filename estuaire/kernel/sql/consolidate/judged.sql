{% from "_parts.sql" import omits, within, same_record %}
{# Grain: one row per current record of a table without a date that is older than one of the full deliveries. A row lies where its parent
   lay as that full delivery knew it: by the parent's newest dated version up to the full, whatever became of it since (the full may end
   it, too); failing that by its first one after. Without any the row stays, marked undated. #}
create or replace temp table judged as
with parent as (
    select
        {% if parent_is_there %}
        business_key as parent_key
        {% for full in fulls %}
        , coalesce(
            arg_min(period_day, place) filter (where sequence <= {{ full.sequence }}),
            arg_max(period_day, place) filter (where sequence > {{ full.sequence }})
        ) as {{ "day_" ~ loop.index0 }}
        {% endfor %}
    from {{ "version_" ~ parent }}
    where period_day is not null
    group by business_key
        {% else %}
        null::varchar as parent_key
        {% for full in fulls %}
        , null::date as {{ "day_" ~ loop.index0 }}
        {% endfor %}
    where false
        {% endif %}
)

select
    version.row_uid_hi,
    version.row_uid_lo,
    landed.delivery_id,
    version.business_key,
    version.source_updated_at,
    coalesce(
        {% for full in fulls %}
        ({{ omits(table, full, "version") }} and {{ within(full, "day_" ~ loop.index0) }})
        {% if not loop.last %}or{% endif %}
        {% endfor %}, false
    ) as ended,
    coalesce(
        {% for full in fulls %}
        ({{ omits(table, full, "version") }} and {{ "day_" ~ loop.index0 }} is null)
        {% if not loop.last %}or{% endif %}
        {% endfor %}, false
    ) as undated
from {{ "version_" ~ table }} as version
inner join {{ "landed_" ~ table }} as landed on {{ same_record("landed", "version") }}
left join parent
    on parent.parent_key = concat_ws(
        '|', {% for column in columns %}landed.{{ column }}{% if not loop.last %}, {% endif %}{% endfor %}
    )
where version.state = 'current' and version.sequence < {{ newest }}
