{#-
    The only places where rows are made from two dates of the data: no date, however wrong, makes more rows than these
    say. What lies beyond is flagged where it stands (stay.dates_cut, record_month.within_period): docs/domain/stays.md.

    Days of a stay, or of a calendar, as 0, 1, ... from the date ``first`` to the date ``last``.
-#}
{% macro days_of_stay(first, last) -%}
    generate_series(0, least({{ last }} - {{ first }}, {{ var('longest_stay_days') | int }}))
{%- endmacro %}

{% macro days_of_period(first, last) -%}
    generate_series(
        0, least({{ last }} - {{ first }}, date '{{ var("last_day") }}' - date '{{ var("first_day") }}' + 366)
    )
{%- endmacro %}

{#- First days of the months from ``first`` to ``last`` (first days, too), within the widest period of a hospital. -#}
{% macro months_of_period(first, last) -%}
    generate_series(
        greatest({{ first }}, date '{{ var("first_day") }}'),
        least({{ last }}, date '{{ var("last_day") }}'),
        interval '1 month'
    )
{%- endmacro %}
