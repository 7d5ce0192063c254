{% from "_values.sql" import parsed, moments, clocked, broken %}
{# Types one block. Grain: one row per sound record of ``raw``, with the landed columns, those of its origin (the variable ``origin``), and
   one boolean per check (true: broken). In three steps, as each reads what the one before named: the texts parsed, the spans of local times
   looked up (once: each mention copies every span into the plan), and the moments that they mean. #}
with parsed as (
    select
        {% for column in columns %}
        {{ parsed(column, formats) }},
        {% for mark in column.marks %}
        {{ mark }},
        {% endfor %}
        {% endfor %}
        {% if op_is_there %}
        coalesce(nullif(lower(trim(op)), ''), 'upsert') as op,
        {% else %}
        'upsert' as op,
        {% endif %}
        {% if updated_is_there %}
        {{ moments("updated", "source_updated_at", formats) }},
        {% endif %}
        record_number,
        line_number,
        row_uid_hi,
        row_uid_lo
    from raw
),

looked as (
    select
        *
        {% for column in columns if column.type == "datetime" %}
        , clock_span({{ column.name ~ "__local" }}) as {{ column.name ~ "__span" }}
        {% endfor %}
        {% if updated_is_there %}
        , clock_span(updated__local) as updated__span
        {% endif %}
    from parsed
),

clocked as (
    select
        {% for column in columns %}
        {{ clocked(column) }},
        {{ column.name ~ "__bad" }},
        {% for mark in column.marks %}
        {{ mark }},
        {% endfor %}
        {% endfor %}
        {% if updated_is_there %}
        coalesce(updated__aware, clock_utc(updated__local, updated__span)) as source_updated_at,
        updated__bad,
        {% else %}
        null::timestamptz as source_updated_at,
        {% endif %}
        op,
        record_number,
        line_number,
        row_uid_hi,
        row_uid_lo
    from looked
)

select
    {% for column in columns %}
    {{ column.name }},
    {% if column.type == "datetime" %}
    {{ column.name ~ "_local" }},
    {% endif %}
    {% endfor %}
    {% for name in origin %}
    getvariable('origin').{{ name }} as {{ name }},
    {% endfor %}
    record_number,
    line_number,
    row_uid_hi,
    row_uid_lo,
    op,
    source_updated_at
    {% for check in checks %}
    , ({{ broken(check) }}) as {{ "check_" ~ loop.index0 }}
    {% endfor %}
from clocked
