{#-
    Lineage that every published table carries: which release, from which lake snapshot, built when, by which code. The
    values come from the environment (`estuaire.warehouse.publish` sets them), not from --vars: a changed variable would make dbt
    parse the whole project again, a changed environment variable only the models that read it.
-#}
{% macro release_columns() -%}
    {{ env_var('ESTUAIRE_RELEASE_ID', '0') | int }}::bigint as release_id,
    {{ env_var('ESTUAIRE_LAKE_SNAPSHOT', '0') | int }}::bigint as lake_snapshot,
    '{{ env_var("ESTUAIRE_BUILT_AT", "1970-01-01 00:00:00+00") }}'::timestamptz as built_at,
    '{{ env_var("ESTUAIRE_CODE_VERSION", "unreleased") }}'::text as code_version
{%- endmacro %}
