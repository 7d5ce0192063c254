{# The rows come as one JSON text: bound one by one they would cost the import of pandas, and as many literals the parser's time. #}
insert into {{ table }}
select
    {% for name, kind in columns.items() %}
    held.{{ name }}::{{ kind }}
    {% if not loop.last %}, {% endif %}
    {% endfor %}
from (select unnest(from_json({{ rows }}, {{ shape }})) as held)
