{#- Rows that share a primary key of several columns, or lack a part of it; nullable parts may be absent. -#}
{% test unique_combination(model, columns, nullable=[]) %}

select {{ columns | join(', ') }}
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1{% for column in columns if column not in nullable %} or {{ column }} is null{% endfor %}

{% endtest %}
