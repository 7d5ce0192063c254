{#-
    Lineage that every published table carries: which release, from which lake snapshot, built when, by which code. The
    values come from the environment (`estuaire.warehouse.publish` sets them), not from --vars: a changed variable would make dbt
    parse the whole project again, a changed environment variable only the models that read it.
-#}
{% macro release_columns() -%}
    {%- for name, value in release_values().items() %}
    {{ value }} as {{ name }}{{ "," if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{#- Lineage column -> what the release that is being built has there. -#}
{% macro release_values() -%}
    {{ return({
        'release_id': (env_var('ESTUAIRE_RELEASE_ID', '0') | int) ~ '::bigint',
        'lake_snapshot': (env_var('ESTUAIRE_LAKE_SNAPSHOT', '0') | int) ~ '::bigint',
        'built_at': "'" ~ env_var('ESTUAIRE_BUILT_AT', '1970-01-01 00:00:00+00') ~ "'::timestamptz",
        'code_version': "'" ~ env_var('ESTUAIRE_CODE_VERSION', 'unreleased') ~ "'::text",
    }) }}
{%- endmacro %}
