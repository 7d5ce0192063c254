{# How many rows of a consolidated file each rule checks, and how many break it; of unique rules all rows, and those beyond the first of a
   key. #}
select
    count(*)
    {% for rule in counted %}
    {% if rule.unique %}
    , count(*)
    , count(*) - count(distinct {% if rule.unique | length > 1 %}({{ rule.unique | join(", ") }}){% else %}{{ rule.unique[0] }}{% endif %})
    {% else %}
    , count({{ rule.holds }})
    , count(*) filter (where not ({{ rule.holds }}))
    {% endif %}
    {% endfor %}
from read_parquet({{ path }})
