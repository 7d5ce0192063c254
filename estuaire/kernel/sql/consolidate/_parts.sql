{# What several statements say alike. #}
{% macro same_record(a, b) -%}
    {{ a }}.row_uid_hi = {{ b }}.row_uid_hi and {{ a }}.row_uid_lo = {{ b }}.row_uid_lo
{%- endmacro %}

{# The full delivery does not hold the version's key. A key stands in it, too, if its row there was quarantined. #}
{% macro omits(table, full, version) -%}
    ({{ version }}.sequence < {{ full.sequence }} and not exists (
        select 1
        from {{ "rejected_" ~ table }} as rejected
        where rejected.business_key = {{ version }}.business_key and rejected.sequence = {{ full.sequence }}
    ))
{%- endmacro %}

{% macro within(full, day) -%}
    ({{ day }} >= date {{ full.start }} and {{ day }} < date {{ full.end }})
{%- endmacro %}

{# The standard code of a landed record's column, by the hospital's map: null where no map knows it. #}
{% macro standard(column) -%}
    {{ "map_" ~ column }}.standard_code
{%- endmacro %}

{% macro code_maps(codes) -%}
    {% for column in codes %}
    left join {{ "map_" ~ column }} on {{ "map_" ~ column }}.local_code = landed.{{ column }}
    {% endfor %}
{%- endmacro %}

{# The patient id that a record bears after merges; ``survivor`` is joined where it may be another. #}
{% macro patient(moved) -%}
    {% if moved %}coalesce(survivor.new_id, landed.patient_id){% else %}landed.patient_id{% endif %}
{%- endmacro %}

{# Whether a landed record is current: what is not is told apart, and is little. #}
{% macro is_current(table, landed="landed") -%}
    not exists (
        select 1
        from {{ "apart_" ~ table }} as gone
        where gone.state <> 'current' and {{ same_record("gone", landed) }}
    )
{%- endmacro %}

{# Current records of a table, with the patient id that they bear after merges; the caller says which. #}
{% macro current(table, columns, codes=[]) -%}
    (
        select
            coalesce(survivor.new_id, landed.patient_id) as patient_id
            {% for column in columns %}
            , landed.{{ column }}
            {% endfor %}
        from {{ "landed_" ~ table }} as landed
        left join survivor on survivor.old_id = landed.patient_id
        {{ code_maps(codes) }}
        where {{ is_current(table) }} and {{ caller() }}
    )
{%- endmacro %}

{# The records of ``decided`` (their identity, delivery_id, business_key, source_updated_at, state, undated) bear that state in apart_<table>,
   where some stand already. #}
{% macro set_apart(table) -%}
update {{ "apart_" ~ table }} as apart
set state = decided.state, undated = decided.undated
from decided
where {{ same_record("decided", "apart") }};

insert into {{ "apart_" ~ table }}
select
    row_uid_hi,
    row_uid_lo,
    delivery_id,
    business_key,
    source_updated_at,
    'upsert' as op,
    1 as place,
    false as twin,
    state,
    undated
from decided
where not exists (
    select 1 from {{ "apart_" ~ table }} as apart
    where {{ same_record("apart", "decided") }}
)
{%- endmacro %}
