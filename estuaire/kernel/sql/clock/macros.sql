{# The clock of a time zone, over the spans that the variables hold (docstring of ``clock.install``). #}
{% macro number(moment) -%}
    least(greatest(epoch_us({{ moment }}) >> {{ bits }}, 0), {{ last_span }}) + 1
{%- endmacro %}

{# The offset in force: of the changes of the span the latest that has begun. #}
{% macro offset(moment, changes) -%}
    {% if changes %}
    case
        {% for i in range(changes - 1, -1, -1) %}
        when epoch_us({{ moment }}) >= span.{{ "at_" ~ i }} then span.{{ "offset_" ~ i }}
        {% endfor %}
        else span.base
    end
    {% else %}
    span.base
    {% endif %}
{%- endmacro %}

create or replace macro clock_span(t) as list_extract(getvariable('clock_spans'), {{ number("t") }});

create or replace macro clock_missing(t, span) as (
    {% for i in range(local_changes) %}
    epoch_us(t) >= span.{{ "at_" ~ i }} and epoch_us(t) < span.{{ "shown_" ~ i }}
    {% if not loop.last %}or{% endif %}
    {% else %}
    t is null and null
    {% endfor %}
);

create or replace macro clock_repeated(t, span) as (
    {% for i in range(local_changes) %}
    epoch_us(t) >= span.{{ "shown_" ~ i }} and epoch_us(t) < span.{{ "at_" ~ i }}
    {% if not loop.last %}or{% endif %}
    {% else %}
    t is null and null
    {% endfor %}
);

create or replace macro clock_utc(t, span) as make_timestamptz(epoch_us(t) - ({{ offset("t", local_changes) }}));

create or replace macro clock_utc_again(t, span) as make_timestamptz(epoch_us(t) - (
    {% if local_changes %}
    case
        {% for i in range(local_changes) %}
        when epoch_us(t) >= span.{{ "shown_" ~ i }} and epoch_us(t) < span.{{ "at_" ~ i }} then span.{{ "offset_" ~ i }}
        {% endfor %}
    end
    {% else %}
    null
    {% endif %}
));

create or replace macro clock_local_in(z, span) as make_timestamp(epoch_us(z) + ({{ offset("z", utc_changes) }}));

create or replace macro clock_local(z) as clock_local_in(
    z, list_extract(getvariable('clock_utc_spans'), {{ number("z") }})
)
