{#- Models are built in candidate schemas (conformed_next, marts_next, staging_next);
    `estuaire.warehouse.publish` swaps them in. By hand (`make dbt`) they are built in the developer's own: dev_<name>_conformed and so on. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- set own = env_var('ESTUAIRE_DBT_SCHEMA', '') -%}
    {%- if custom_schema_name is none -%} {{ target.schema }}
    {%- elif own -%} {{ own }}_{{ custom_schema_name | trim }}
    {%- else -%} {{ custom_schema_name | trim }}_next {%- endif -%}
{%- endmacro %}
