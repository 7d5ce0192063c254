{# Grain: one row per sound record of a file, in its order: typed, with one boolean ``check_<n>`` for each check (true: broken). #}
create or replace temp table judged as
with read_texts as (
    select
        texts.record_number,
        texts.line_number,
        texts.byte_offset,
        texts.byte_length,
        texts.row_uid_hi,
        texts.row_uid_lo
        {% for column in columns %}
        , {{ column.expression }} as {{ column.name }}
        {% endfor %}
    from texts
    {% for name in pseudonyms %}
    left join {{ "pseudonyms_" ~ name }} on {{ "pseudonyms_" ~ name }}.written = texts.{{ name }}
    {% endfor %}
),

clocked as (
    select
        *
        {% for time in times %}
        , case
            when {{ time.name ~ "__clock" }}::date in (select changing.day from {{ changing }} as changing)
                then meanings({{ time.name ~ "__clock" }}, {{ zone }})
            when {{ time.name ~ "__clock" }} is not null then [{{ time.name ~ "__clock" }} at time zone {{ zone }}]
        end as {{ time.name ~ "__meanings" }}
        {% endfor %}
    from read_texts
),

marked as (
    select
        *
        {% for time in times %}
        , coalesce(len({{ time.name ~ "__meanings" }}) = 0, false) as {{ time.name ~ "__missing" }}
        , coalesce(len({{ time.name ~ "__meanings" }}) = 2, false) as {{ time.name ~ "__repeated" }}
        {% endfor %}
    from clocked
),

typed as (
    select
        *
        {% if times %}
        replace (
            {% for time in times %}
            coalesce(
                {{ time.name ~ "__moment" }},
                {% if time.begins %}
                {# both ends in the hour that comes twice, in the wrong order: the end is of the second #}
                case
                    when
                        {{ time.name ~ "__repeated" }} and {{ time.begins ~ "__repeated" }}
                        and {{ time.name ~ "__clock" }} < {{ time.begins ~ "__clock" }}
                        then {{ time.name ~ "__meanings" }}[2]
                end,
                {% endif %}
                {% if time.orders %}
                {# it only orders versions: an hour that is missing counts by the offset after it #}
                case
                    when {{ time.name ~ "__missing" }}
                        then (({{ time.name ~ "__clock" }} + interval 3 hour) at time zone {{ zone }}) - interval 3 hour
                end,
                {% endif %}
                {{ time.name ~ "__meanings" }}[1]
            ) as {{ time.name }}
            {% if not loop.last %}, {% endif %}
            {% endfor %}
        )
        {% endif %}
        {% for time in times if not time.orders %}
        , coalesce({{ time.name ~ "__moment" }} at time zone {{ zone }}, {{ time.name ~ "__clock" }}) as {{ time.name ~ "_local" }}
        {% endfor %}
        {% for origin in origins %}
        , {{ origin.value }} as {{ origin.name }}
        {% endfor %}
    from marked
)

select
    *
    {% for check in checks %}
    , coalesce({{ check.broken }}, false){% if not check.of_deletions %} and op <> 'delete'{% endif %} as {{ check.name }}
    {% endfor %}
from typed
