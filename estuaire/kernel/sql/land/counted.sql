{# Grain: one row per value of a column among the typed records, null apart. #}
select
    {% if as_day %}{{ column }}::date{% else %}{{ column }}{% endif %},
    count(*)
from typed
where {{ column }} is not null
group by all
