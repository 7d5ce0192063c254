{# Grain: one row per record that is no deletion and whose key is whole: hashes of its key and moment, and of its content. #}
select
    hash({{ key | join(", ") }}, source_updated_at) as key,
    hash({{ columns | join(", ") }}) as content
from typed
where
    op = 'upsert'
    {% for column in required %}
    and {{ column }} is not null
    {% endfor %}
