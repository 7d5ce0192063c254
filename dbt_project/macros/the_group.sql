{#-
    What stands for all hospitals of the study together, as a text: in hospital_id where a row is of all of them, in a scope
    where what was counted is counted across them. No hospital's id; estuaire.contract.registry calls it so, too.
-#}
{% macro the_group() -%}
    '{{ var("group") }}'
{%- endmacro %}
