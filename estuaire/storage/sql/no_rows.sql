select
    {% for column in typed %}
    null::{{ column.type }} as {{ column.name }}
    {% if not loop.last %}, {% endif %}
    {% endfor %}
where false
