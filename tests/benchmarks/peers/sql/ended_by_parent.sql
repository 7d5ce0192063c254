{# A row without a date lies where its parent lay as the full delivery knew it: by the parent's newest dated version up to it, failing that
   by its first one after. #}
create or replace temp table {{ "version_" ~ table }} as
with
{% for full in fulls %}
{{ "parent_" ~ loop.index0 }} as (
    select
        {{ to | join(", ") }},
        coalesce(
            arg_min(period_day, place) filter (where sequence <= {{ full.sequence }}),
            arg_max(period_day, place) filter (where sequence > {{ full.sequence }})
        ) as day
    from {% if parent_is_there %}{{ "version_" ~ parent }}{% else %}(
        select {% for name in to %}null::varchar as {{ name }}, {% endfor %}null::date as period_day, 1 as place, 1 as sequence where false
    ){% endif %}
    where period_day is not null
    group by {{ to | join(", ") }}
),
{% endfor %}

judged as (
    select
        version.*,
        {% for full in fulls %}
        coalesce(version.state = 'current' and version.sequence < {{ full.sequence }}
            {% if rejected %}
            and version.business_key not in (
                select rejected.business_key from {{ "rejected_" ~ table }} as rejected
                where rejected.sequence = {{ full.sequence }}
            )
            {% endif %}, false) as {{ "omitted_" ~ loop.index0 }},
        {{ "parent_" ~ loop.index0 }}.day as {{ "day_" ~ loop.index0 }}
        {% if not loop.last %}, {% endif %}
        {% endfor %}
    from {{ "version_" ~ table }} as version
    {% for full in fulls %}
    {% set day = "parent_" ~ loop.index0 %}
    left join {{ day }}
        on {% for own, of in pairs %}{{ day }}.{{ of }} = version.{{ own }}{% if not loop.last %} and {% endif %}{% endfor %}
    {% endfor %}
)

select
    * exclude ({% for full in fulls %}{{ "omitted_" ~ loop.index0 }}, {{ "day_" ~ loop.index0 }}{% if not loop.last %}, {% endif %}{% endfor %})
    replace (
        case
            when {% for full in fulls %}({{ "omitted_" ~ loop.index0 }} and coalesce({{ "day_" ~ loop.index0 }} >= {{ full.start }} and {{ "day_" ~ loop.index0 }} < {{ full.end }}, false)){% if not loop.last %} or {% endif %}{% endfor %}
                then 'ended'
            else state
        end as state,
        not ({% for full in fulls %}({{ "omitted_" ~ loop.index0 }} and coalesce({{ "day_" ~ loop.index0 }} >= {{ full.start }} and {{ "day_" ~ loop.index0 }} < {{ full.end }}, false)){% if not loop.last %} or {% endif %}{% endfor %})
        and ({% for full in fulls %}({{ "omitted_" ~ loop.index0 }} and {{ "day_" ~ loop.index0 }} is null){% if not loop.last %} or {% endif %}{% endfor %}) as undated
    )
from judged
