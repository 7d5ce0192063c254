-- noqa: disable=LT02
{#- The functions that the models call stand in the project, so that a corrected one is another release: its input
    hash covers every file here. Each dbt command makes the schema anew; what a model has computed with them stays. -#}
{% macro create_statistics() -%}
set local client_min_messages = warning;
drop schema if exists {{ stats() }} cascade;
create schema {{ stats() }};
comment on schema {{ stats() }} is 'Functions that the models call: 95 % confidence intervals and infection episodes';
{{ proportion_intervals() }}
{{ rate_intervals() }}
{{ episodes() }}
{{ strains() }}
{%- endmacro %}

{#- Their schema: a developer's own (`make dbt`) beside the platform's. -#}
{% macro stats() -%}
    {%- set own = env_var('ESTUAIRE_DBT_SCHEMA', '') -%}
    {{ own ~ '_stats' if own else 'stats' }}
{%- endmacro %}
