select
    *
    {% for column in missing %}
    , null::{{ column.type }} as {{ column.name }}
    {% endfor %}
from read_parquet([{{ paths }}], union_by_name = true, hive_partitioning = false)
