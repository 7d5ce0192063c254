{% from "_parts.sql" import same_record, standard, code_maps, patient %}
{# Grain: one row per current record of the table, with standard codes, what several records say together, and its flags. By patient:
   readers can skip, and the same rows are the same file whatever order they came in. #}
select
    {% for column in selected %}
    {% if column.is == "stale" %}
    exists (
        select 1
        from {{ "rejected_" ~ table }} as rejected
        where
            rejected.business_key = version.business_key
            and (
                rejected.sequence > version.sequence
                or (
                    rejected.sequence = version.sequence
                    and coalesce(rejected.source_updated_at, timestamptz '0001-01-01')
                    > coalesce(version.source_updated_at, timestamptz '0001-01-01')
                )
            )
    )
    {% elif column.is == "flags" %}
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
        , case when twice.business_key is not null then {{ flags.twice }} end
        {% if has_patient %}
        , case when nobody.patient_id is not null then {{ flags.nobody }} end
        {% endif %}
        {% if table == "stay" %}
        , case when ended.long then {{ flags.long }} end
        , case when ended.untold then 'stay.end.unknown' end
        {% endif %}
        {% if has_parent %}
        , case when version.undated then {{ flags.undated }} end
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
    ), '')
    {% elif column.is == "merged_into" %}
    {% if merged %}survivor.new_id{% else %}null::varchar{% endif %}

    {% elif column.is == "of_stay" %}
    ended.{{ column.name }}
    {% elif column.is == "draw_id" %}
    {# bottles of one draw: the same patient, moment and place, blood alone #}
    case
        when {{ standard("nature") }} = 'blood'
            then min(landed.specimen_id) over (
                partition by
                    {{ patient(moved) }},
                    landed.collected_at,
                    {{ standard("nature") }},
                    {{ standard("purpose") }},
                    landed.body_site
            )
        else landed.specimen_id
    end
    {% elif column.is == "patient" %}
    {{ patient(moved) }}
    {% elif column.is == "coded" %}
    {{ standard(column.name) }}
    {% else %}
    landed.{{ column.source }}
    {% endif %}
    as {{ column.name }}
    {% if not loop.last %}, {% endif %}
    {% endfor %}
from {{ "landed_" ~ table }} as landed
inner join {{ "version_" ~ table }} as version
    on {{ same_record("version", "landed") }} and version.state = 'current'
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
left join {{ "twice_" ~ table }} as twice on twice.business_key = version.business_key
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
order by
    {% if has_patient %}
    {{ patient(moved) }}
    {% if order %}, {% endif %}
    {% endif %}
    {% for column in order %}
    landed.{{ column }}
    {% if not loop.last %}, {% endif %}
    {% endfor %}
