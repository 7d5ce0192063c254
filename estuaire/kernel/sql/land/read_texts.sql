{% from "_values.sql" import read %}
{# How texts of columns are read. Grain: one row per row of the relation ``written``, in its order; a column of fewer texts ends in nulls. #}
select
    {% for column in text_columns %}
    {{ read(column, formats) }}
    {% if not loop.last %}, {% endif %}
    {% endfor %}
from written
