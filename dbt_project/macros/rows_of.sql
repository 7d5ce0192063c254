{#-
    What a model's rows depend on, of which `rows_of` in its config speaks (dbt_project.yml; decision 32):
    hospital: each row is made of rows of its own hospital_id, of the registry's and of seeds; all: anything else.

    A publish that builds some hospitals anew (ESTUAIRE_REBUILT: their ids, with commas) computes of the first kind these hospitals' rows alone, and takes
    the others' over from the served release, which was built by the same code from the same rows. Without ESTUAIRE_REBUILT everything is computed.
-#}
{% macro rebuilt_hospitals() -%}
    {%- set ids = [] -%}
    {%- for id in env_var('ESTUAIRE_REBUILT', '').split(',') if id -%}
        {%- do ids.append("'" ~ (id | replace("'", "''")) ~ "'") -%}
    {%- endfor -%}
    {{ return(ids | join(', ')) }}
{%- endmacro %}

{% macro is_of_hospital(node) -%}
    {{ return(node.resource_type == 'model' and (node.config.get('meta') or {}).get('rows_of') == 'hospital') }}
{%- endmacro %}

{#- dbt's own, but that in a model of rows of a hospital another such model shows the rows of the rebuilt hospitals. -#}
{% macro ref() -%}
    {%- set relation = builtins.ref(*varargs, **kwargs) -%}
    {#- the environment is not asked for while dbt parses: a changed variable would have it parse every model again -#}
    {%- if execute and model and is_of_hospital(model) -%}
        {%- set ids = rebuilt_hospitals() -%}
        {%- set known = graph.nodes.get('model.' ~ project_name ~ '.' ~ varargs[-1]) -%}
        {%- if ids and known and is_of_hospital(known) -%}
            {{ return('(select * from ' ~ relation ~ ' where hospital_id in (' ~ ids ~ '))') }}
        {%- endif -%}
    {%- endif -%}
    {{ return(relation) }}
{%- endmacro %}

{#- After a model of rows of a hospital: the served rows of the hospitals that are not rebuilt, with the new release's lineage. -#}
{% macro take_over() -%}
    {%- if execute and model and is_of_hospital(model) and rebuilt_hospitals() -%}
        {%- set lineage = release_values() -%}
        {%- set into, values = [], [] -%}
        {%- for column in adapter.get_columns_in_relation(this) -%}
            {%- do into.append(adapter.quote(column.name)) -%}
            {%- do values.append(lineage.get(column.name, adapter.quote(column.name))) -%}
        {%- endfor -%}
        insert into {{ this }} ({{ into | join(', ') }})
        select {{ values | join(', ') }}
        from {{ model.config.schema }}.{{ this.identifier }}
        where hospital_id not in ({{ rebuilt_hospitals() }})
    {%- endif -%}
{%- endmacro %}
