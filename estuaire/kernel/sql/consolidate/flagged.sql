{% from "_parts.sql" import same_record, standard, code_maps, patient, is_current %}
{# Grain: one row per current record that bears flags: those of its landing, and what several records say. #}
select
    row_uid_hi,
    row_uid_lo,
    flags
from (
    select
        landed.row_uid_hi,
        landed.row_uid_lo,
        nullif(concat_ws(
            ','
            , landed.flags
            {% for reference in orphans %}
            , case
                when
                    {% for own in reference.columns %}
                    landed.{{ own }} is not null and
                    {% endfor %}
                    {{ "key_" ~ reference.columns[-1] }}.{{ reference.to[-1] }} is null
                    then {{ reference.flag }}
            end
            {% endfor %}
            {% if any_twice %}
            , case when twice.row_uid_hi is not null then {{ flags.twice }} end
            {% endif %}
            {% if has_patient %}
            , case when nobody.patient_id is not null then {{ flags.nobody }} end
            {% endif %}
            {% if table == "stay" %}
            , case when ended.long then {{ flags.long }} end
            , case when ended.untold then 'stay.end.unknown' end
            {% endif %}
            {% if has_parent %}
            , case when undated.row_uid_hi is not null then {{ flags.undated }} end
            {% endif %}
            {% if table == "patient_merge" %}
            , case when circular.old_id is not null then 'patient_merge.old_patient_id.circular' end
            {% endif %}
            {% for text in in_text %}
            , case
                when
                    {{ standard(text.column) }} is null
                    and regexp_full_match(landed.{{ text.column }}, {{ text.form }}, 'i')
                    then {{ text.flag }}
            end
            {% endfor %}
            {% if table == "administration" %}
            , case
                when {{ standard("drug_code") }} is null and antibacterial.drug_code is not null
                    then {{ flags.antibacterial }}
            end
            {% endif %}
        ), '') as flags
    from {{ "landed_" ~ table }} as landed
    {{ code_maps(codes) }}
    {% if merged and has_patient %}
    left join survivor on survivor.old_id = landed.patient_id
    {% endif %}
    {% for reference in orphans %}
    left join (
        select distinct {{ reference.to | join(", ") }} from {{ "parent_" ~ reference.table }}
    ) as {{ "key_" ~ reference.columns[-1] }}
        on
            {% for own, to in reference.pairs %}
            {{ "key_" ~ reference.columns[-1] }}.{{ to }} =
            {% if own == "patient_id" %}{{ patient(moved) }}{% else %}landed.{{ own }}{% endif %}
            {% if not loop.last %}and{% endif %}
            {% endfor %}
    {% endfor %}
    {% if any_twice %}
    left join (
        select
            apart.row_uid_hi,
            apart.row_uid_lo
        from {{ "apart_" ~ table }} as apart
        inner join {{ "twice_" ~ table }} using (business_key)
        where apart.state = 'current'
    ) as twice on {{ same_record("twice", "landed") }}
    {% endif %}
    {% if has_parent %}
    left join (
        select
            row_uid_hi,
            row_uid_lo
        from {{ "apart_" ~ table }}
        where undated
    ) as undated on {{ same_record("undated", "landed") }}
    {% endif %}
    {% if has_patient %}
    left join not_one_person as nobody on nobody.patient_id = {{ patient(moved) }}
    {% endif %}
    {% if table == "stay" %}
    inner join ended on {{ same_record("ended", "landed") }}
    {% endif %}
    {% if table == "patient_merge" %}
    left join circular on circular.old_id = landed.old_patient_id
    {% endif %}
    {% if table == "administration" %}
    left join antibacterial
        on
            antibacterial.drug_code = coalesce(landed.drug_code, '')
            and antibacterial.drug_label = coalesce(landed.drug_label, '')
    {% endif %}
    where {{ is_current(table) }}
) as flagged
where flags is not null
