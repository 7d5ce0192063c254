{#- Lineage that every published table carries: which release, from which lake snapshot, built when. -#}
{% macro release_columns() -%}
    {{ var('release_id') | int }}::bigint as release_id,
    {{ var('lake_snapshot') | int }}::bigint as lake_snapshot,
    '{{ var("built_at") }}'::timestamptz as built_at
{%- endmacro %}
