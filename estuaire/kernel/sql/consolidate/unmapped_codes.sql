{# Grain: one row per column of codes and local code that no map knows. #}
{% for code in counted %}
select
    {{ code.place }} as place,
    {{ code.column ~ "_source" }} as code,
    count(*) as records
from read_parquet({{ output }})
where not ({{ code.mapped }}) and {{ code.column ~ "_source" }} is not null
group by all
{% if not loop.last %}union all{% endif %}
{% endfor %}
