{# One row: per check the records that break it, and those of them that are accepted. #}
select
    count(*) filter (where rejected)
    {% for check in checks %}
    , count(*) filter (where {{ check.name }})
    , count(*) filter (where {{ check.name }} and not rejected)
    {% endfor %}
from (
    select
        *,
        {% for check in checks if check.quarantine %}{{ check.name }} or {% endfor %}false as rejected
    from judged
)
