{# How the value of a column is read. A column comes as text, or not at all; ``<name>__bad`` says that a text is there and none of its kind. #}

{% macro text(name) -%}
    nullif(trim({{ name }}), '')
{%- endmacro %}

{# A parsed date or time, null where its year has fewer than four digits: strptime's %Y reads 25 as the year 25, and 0000. #}
{% macro four_digits(zoned=false) -%}
    case
        when {{ caller() }} >= {% if zoned %}timestamptz{% else %}timestamp{% endif %} '1000-01-01' then {{ caller() }}
    end
{%- endmacro %}

{% macro local_time(source, formats) -%}
    {% if formats.naive %}
    {% call four_digits() %}try_strptime({{ text(source) }}, [{{ formats.naive | join(", ") }}]){% endcall %}
    {% else %}
    null::timestamp
    {% endif %}
{%- endmacro %}

{# ISO 8601 writes UTC as Z, which strptime's %z of DuckDB does not read. #}
{% macro moment(source, formats) -%}
    {% if formats.aware %}
    {% call four_digits(zoned=true) %}
    coalesce(
        {% for format in formats.aware %}
        try_strptime({{ text(source) }}, {{ format }}),
        {% endfor %}
        {% for format in formats.aware %}
        case
            when ends_with({{ text(source) }}, 'Z')
                then try_strptime(left({{ text(source) }}, -1) || '+00:00', {{ format }})
        end,
        {% endfor %}
        null::timestamptz
    )
    {% endcall %}
    {% else %}
    null::timestamptz
    {% endif %}
{%- endmacro %}

{# <name>__local, the naive local time of a text, and <name>__aware, its moment with an offset, each null where the text has the other form.
   A placeholder is none of the two, and not bad: the text was read. Its day is the one that is written: 9999-12-31T23:59:59Z is no day of
   the year 10000. #}
{% macro moments(name, source, formats) -%}
    {% if formats.placeholders %}
    {{ local_time(source, formats) }} as {{ name ~ "__read" }},
    {{ moment(source, formats) }} as {{ name ~ "__moment" }},
    case
        when {{ name ~ "__read" }}::date not in ({{ formats.placeholders | join(", ") }}) then {{ name ~ "__read" }}
    end as {{ name ~ "__local" }},
    {% if formats.clocks %}
    case
        when
            coalesce(
                try_strptime(
                    regexp_replace({{ text(source) }}, ' *(Z|[+-][0-9]{2}(:?[0-9]{2})?)$', ''),
                    [{{ formats.clocks | join(", ") }}]
                )::date in ({{ formats.placeholders | join(", ") }}),
                false
            )
            then null
        else {{ name ~ "__moment" }}
    end as {{ name ~ "__aware" }},
    {% else %}
    {{ name ~ "__moment" }} as {{ name ~ "__aware" }},
    {% endif %}
    {{ text(source) }} is not null
    and {{ name ~ "__read" }} is null
    and {{ name ~ "__moment" }} is null as {{ name ~ "__bad" }}
    {% else %}
    {{ local_time(source, formats) }} as {{ name ~ "__local" }},
    {{ moment(source, formats) }} as {{ name ~ "__aware" }},
    {{ text(source) }} is not null
    and {{ name ~ "__local" }} is null
    and {{ name ~ "__aware" }} is null as {{ name ~ "__bad" }}
    {% endif %}
{%- endmacro %}

{# A number that DECIMAL(18,6) holds as it is written, else null: nothing is rounded, and no separator of thousands is guessed. Six digits
   after the sign at the most (zeros are none); a power of ten small enough that DECIMAL(38,20) holds it. #}
{% macro decimal(name, comma) -%}
    case
        when regexp_full_match({{ text(name) }}, '[+-]?[0-9]*(?:[.,][0-9]{0,6}0*)?')
            then try_cast({{ pointed(name, comma) }} as decimal(18, 6))
        when
            regexp_full_match({{ text(name) }}, '[+-]?[0-9]{1,8}(?:[.,][0-9]{0,8})?[eE][+-]?[01]?[0-9]')
            and try_cast({{ pointed(name, comma) }} as decimal(38, 20))
            = try_cast({{ pointed(name, comma) }} as decimal(18, 6))
            then try_cast({{ pointed(name, comma) }} as decimal(18, 6))
    end
{%- endmacro %}

{# A point where the comma is the decimal sign: 0.5 can be read one way only, 1.000 and 12.345 in two. #}
{% macro pointed(name, comma) -%}
    {% if comma %}
    case
        when
            contains({{ text(name) }}, '.')
            and regexp_full_match({{ text(name) }}, '[+-]?[1-9][0-9]{0,2}([.][0-9]{3})+([eE].*)?')
            then null
        else replace({{ text(name) }}, ',', '.')
    end
    {% else %}
    {{ text(name) }}
    {% endif %}
{%- endmacro %}

{# How the texts of a column are read. #}
{% macro read(column, formats) -%}
    {% if column.type == "datetime" %}
    {{ moments(column.name, column.name, formats) }}
    {% elif column.type == "operation" %}
    coalesce(nullif(lower(trim({{ column.name }})), ''), 'upsert') as {{ column.name ~ "__typed" }},
    false as {{ column.name ~ "__bad" }}
    {% elif column.type == "date" and formats.placeholders %}
    (
        {% call four_digits() %}try_strptime({{ text(column.name) }}, [{{ formats.dates | join(", ") }}]){% endcall %}
        ::date
    ) as {{ column.name ~ "__read" }},
    case
        when {{ column.name ~ "__read" }} not in ({{ formats.placeholders | join(", ") }})
            then {{ column.name ~ "__read" }}
    end as {{ column.name ~ "__typed" }},
    {{ text(column.name) }} is not null and {{ column.name ~ "__read" }} is null as {{ column.name ~ "__bad" }}
    {% else %}
    {% if column.type == "date" %}
    (
        {% call four_digits() %}try_strptime({{ text(column.name) }}, [{{ formats.dates | join(", ") }}]){% endcall %}
        ::date
    )
    {% elif column.type == "integer" %}
    {# digits only: DuckDB's own cast rounds 1.5 and reads 0x1F #}
    case
        when regexp_full_match({{ text(column.name) }}, '[+-]?[0-9]+')
            then try_cast({{ text(column.name) }} as bigint)
    end
    {% else %}
    {{ decimal(column.name, formats.comma) }}
    {% endif %}
    as {{ column.name ~ "__typed" }},
    {{ text(column.name) }} is not null and {{ column.name ~ "__typed" }} is null as {{ column.name ~ "__bad" }}
    {% endif %}
{%- endmacro %}

{# A deletion needs its key only. #}
{% macro applies(key) -%}
    {% if key %}true{% else %}op <> 'delete'{% endif %}
{%- endmacro %}

{# Whether a record breaks a rule. A value that could not be typed, or an hour that does not exist, is one finding, not two. #}
{% macro broken(check) -%}
    {{ applies(check.key) }}
    {% for name in check.unread %}
    and not {{ name }}
    {% endfor %}
    and not coalesce({{ check.holds }}, true)
{%- endmacro %}
