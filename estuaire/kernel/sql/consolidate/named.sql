{% from "_parts.sql" import is_current %}
{# A patient or a unit lies in no period: it stays while a current record names it. #}
delete from omitted
where exists (
    select 1
    from {{ "landed_" ~ table }} as named
    where
        {{ is_current(table, "named") }} and
        {% for own, of in pairs %}
        named.{{ own }} = omitted.{{ of }}
        {% if not loop.last %}and{% endif %}
        {% endfor %}
)
