{# One row: per column of codes the texts that the records bear. #}
select
    {% for column in columns %}
    list(distinct {{ column }}) filter (where {{ column }} is not null)
    {% if not loop.last %}, {% endif %}
    {% endfor %}
from {{ "landed_" ~ table }}
