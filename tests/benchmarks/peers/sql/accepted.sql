copy (
    select
        {% for column in columns %}
        {{ column }},
        {% endfor %}
        nullif(concat_ws(
            ',', null {% for check in checks if not check.quarantine %}, case when {{ check.name }} then {{ check.id }} end{% endfor %}
        ), '') as flags
    from judged
    where not ({% for check in checks if check.quarantine %}{{ check.name }} or {% endfor %}false)
) to {{ target }} (format parquet, compression zstd, compression_level 1)
