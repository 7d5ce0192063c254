{% from "_parts.sql" import same_record %}
{# A patient or a unit lies in no period: it stays while a current record names it. #}
delete from omitted
where exists (
    select 1
    from {{ "landed_" ~ table }} as named
    inner join {{ "version_" ~ table }} as version
        on {{ same_record("version", "named") }} and version.state = 'current'
    where
        {% for own, of in pairs %}
        named.{{ own }} = omitted.{{ of }}
        {% if not loop.last %}and{% endif %}
        {% endfor %}
)
