{#- Models are built in candidate schemas (conformed_next, marts_next, staging_next);
    `estuaire.publish` swaps them in. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- if custom_schema_name is none -%} {{ target.schema }} {%- else -%} {{ custom_schema_name | trim }}_next {%- endif -%}
{%- endmacro %}
