{% for code in codes %}
select
    {{ code.place }} as place,
    {{ code.column ~ "_source" }} as code,
    count(*) as records
from read_parquet({{ target }})
where not ({{ code.mapped }}) and {{ code.column ~ "_source" }} is not null
group by all
{% if not loop.last %}union all{% endif %}
{% endfor %}
