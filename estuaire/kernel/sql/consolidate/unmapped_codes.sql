select
    {{ column ~ "_source" }},
    count(*)
from read_parquet({{ output }})
where not ({{ mapped }}) and {{ column ~ "_source" }} is not null
group by all
