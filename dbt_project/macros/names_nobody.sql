{#-
    Whether a record's flags say that its patient identifier is no one person's: by its words (ANONYME; flagged on landing) or by what its
    records hold together (flagged on consolidation); docs/domain/isolates.md.
-#}
{% macro names_nobody(flags) -%}
    coalesce(
        strpos({{ flags }}, '.patient_id.unknown') + strpos({{ flags }}, '.patient_id.not_one_person') > 0, false
    )
{%- endmacro %}
