{#-
    Reading a laboratory's words for its guideline: EUCAST 14.0, v_9.0, Clinical breakpoints v 13.0, CA-SFM 2023, V1.0 juin 2023
    (docs/domain/categories.md). EUCAST titles its tables "Clinical breakpoints"; a bare version number is of no family.
-#}
{% macro guideline_family(text) -%}
    case
        when {{ text }} ~* 'ca.?sfm' then 'ca_sfm'
        when {{ text }} ~* 'eucast' then 'eucast'
        when {{ text }} ~* 'clsi|nccls' then 'clsi'
        when {{ text }} ~* 'clinical.breakpoint|breakpoint.table' then 'eucast'
    end
{%- endmacro %}

{#- Year of a guideline: as written, or of EUCAST the number of its tables (v9 is 2019); null where neither tells. -#}
{% macro guideline_year(family, text) -%}
    coalesce(
        substring({{ text }} from '(?:^|[^0-9])((?:19|20)[0-9]{2})(?![0-9])')::integer,
        case
            when {{ family }} = 'eucast'
                then 2010 + nullif(
                    substring({{ text }} from '(?:^|[^0-9.])([0-9]{1,2})(?:[.][0-9]+)?(?![0-9.])')::integer, 0
                )
        end
    )
{%- endmacro %}
