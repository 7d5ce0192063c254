create or replace temp table {{ table }} (
    {% for name, kind in columns.items() %}
    {{ name }} {{ kind }}
    {% if not loop.last %}, {% endif %}
    {% endfor %}
)
