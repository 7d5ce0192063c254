{% from "_values.sql" import broken %}
{# Grain: one row per record of ``parsed``, in its order: one boolean per rule (true: broken). ``absent``: columns that the rules read and the
   file has not. #}
select
    {% for check in checks %}
    ({{ broken(check) }}) as {{ check.name }}
    {% if not loop.last %}, {% endif %}
    {% endfor %}
from (
    select
        *
        {% for column in absent %}
        , null::{{ column.kind }} as {{ column.name }}
        {% endfor %}
        {% for name in sound %}
        , false as {{ name }}
        {% endfor %}
        {% if not op_is_there %}
        , 'upsert' as op
        {% endif %}
        {% for name in origin %}
        , getvariable('origin').{{ name }} as {{ name }}
        {% endfor %}
    from parsed
) as record
