{# The renewed map, and of the hospitals that are away the rows of the former one. #}
{% for rows in parts %}
select {{ columns | join(", ") }} from {{ rows }}
{% if not loop.last %}
union all
{% endif %}
{% endfor %}
