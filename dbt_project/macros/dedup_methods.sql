{#-
    One method's condition for a first isolate, of the columns of isolate_episode's last step; suffix _in_nature: within
    the isolates of the specimen's own nature.
-#}
{% macro is_first(method, suffix) -%}
    {%- set length = method.split('_')[-1] -%}
    {%- if method == 'all' -%} not numbered.same_draw
    {%- elif method == 'patient' -%} numbered.is_candidate and numbered.rank_in_{{ 'nature' if suffix else 'all' }} = 1
    {%- elif method == 'm39' -%} numbered.is_candidate and numbered.opens_year{{ suffix }}
    {%- elif method == 'glass' -%} numbered.is_candidate and numbered.opens_year_in_nature
    {%- elif method == 'ears_net' and suffix -%}
        numbered.is_candidate and coalesce(numbered.is_invasive and numbered.opens_year_in_nature, false)
    {%- elif method == 'ears_net' -%} numbered.is_candidate and numbered.opens_year_of_invasive
    {%- elif method.startswith('episode_') -%} numbered.is_candidate and numbered.opens_{{ length }}{{ suffix }}
    {%- else -%} numbered.is_candidate and coalesce(several_{{ length }}{{ suffix }}.is_new, true)
    {%- endif -%}
{%- endmacro %}

{#- All of them as one number: bit k is the k-th method. -#}
{% macro first_by(methods, suffix) -%}
    {%- for method in methods -%}
        ({{ is_first(method, suffix) }})::integer * {{ 2 ** loop.index0 }}{{ " + " if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{#- Of such a number the bits of the methods that the antibiogram shows, next to each other. -#}
{% macro shown_bits(column) -%}
    {%- set parts = [] -%}
    {%- for method in var('antibiogram_methods').split() -%}
        {%- set place = var('dedup_methods').split().index(method) -%}
        {%- do parts.append('((' ~ column ~ ' >> ' ~ place ~ ' & 1) << ' ~ loop.index0 ~ ')') -%}
    {%- endfor -%}
    ({{ parts | join(' | ') }})::bigint
{%- endmacro %}
