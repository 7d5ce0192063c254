{% from "_values.sql" import read %}
{# How texts of one column are read. Grain: one row per text of the relation ``written``, in its order. #}
select {{ read(text_column, formats) }}
from written
