{#-
    Rates per 1,000 patient-days of a cell of antibiotic use, null without a patient-day. Days and length of therapy are counts: each has
    its exact Poisson 95 % interval, from the interval of the count alone (dot, lot: relations with low and high); DDDs are amounts, and have none.
-#}
{% macro consumption_rates(cell, patient_days, dot, lot) -%}
    round(1000 * {{ cell }}.ddd / nullif({{ patient_days }}, 0), 3)::numeric(14, 3) as ddd_per_1000_patient_days
    {%- for name, count, bounds in [('dot', 'days_of_therapy', dot), ('lot', 'length_of_therapy', lot)] %},
    round(
        1000.0 * {{ cell }}.{{ count }} / nullif({{ patient_days }}, 0), 3
    )::numeric(14, 3) as {{ name }}_per_1000_patient_days,
    round((1000 * {{ bounds }}.low / nullif({{ patient_days }}, 0))::numeric, 3)::numeric(14, 3) as {{ name }}_per_1000_low,
    round((1000 * {{ bounds }}.high / nullif({{ patient_days }}, 0))::numeric, 3)::numeric(14, 3) as {{ name }}_per_1000_high
    {%- endfor %}
{%- endmacro %}

{#- The exact Poisson 95 % interval (low, high) of each count n of therapy in cells, each count computed once. -#}
{% macro exact_intervals(cells) %}
    select
        counts.n,
        poisson.low,
        poisson.high
    from (
        select days_of_therapy as n from {{ cells }}
        union
        select length_of_therapy as n from {{ cells }}
    ) as counts
    cross join lateral {{ stats() }}.poisson_exact(counts.n::bigint, 1) as poisson
{% endmacro %}

{#- Which scopes of antibiotics count a substance, by its narrowest scope: each scope holds the narrower ones. -#}
{% macro consumption_scopes() %}
    values
    ('esac', 'esac'), ('spares', 'esac'), ('spares', 'spares'), ('all', 'esac'), ('all', 'spares'), ('all', 'all')
{% endmacro %}
