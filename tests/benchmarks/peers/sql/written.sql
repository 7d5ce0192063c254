{# Grain: one row per current record of a table, by patient. #}
copy (
    with flagged as (
        select
            record.* replace (
                nullif(concat_ws(
                    ',',
                    record.flags
                    {% for reference in orphans %}
                    , case
                        when
                            {% for own in reference.own %}record.{{ own }} is not null and {% endfor %}
                            {{ reference.name }}.known is null
                            then {{ reference.flag }}
                    end
                    {% endfor %}
                    {% if any_twice %}
                    , case when twice.known then {{ flags.twice }} end
                    {% endif %}
                    {% if has_patient %}
                    , case when nobody.patient_id is not null then {{ flags.nobody }} end
                    {% endif %}
                    {% if table == "stay" %}
                    , case when ended_stay.long then {{ flags.long }} end
                    , case when ended_stay.untold then {{ flags.unknown_end }} end
                    {% endif %}
                    {% if has_parent %}
                    , case when record.undated then {{ flags.undated }} end
                    {% endif %}
                    {% if table == "patient_merge" %}
                    , case when circular.old_id is not null then {{ flags.circular }} end
                    {% endif %}
                    {% for text in in_text %}
                    , case
                        when
                            record.{{ text.column ~ "__standard" }} is null
                            and regexp_full_match(record.{{ text.column }}, {{ text.form }}, 'i')
                            then {{ text.flag }}
                    end
                    {% endfor %}
                    {% if table == "administration" %}
                    , case
                        when record.drug_code__standard is null and antibacterial.drug_code is not null
                            then {{ flags.antibacterial }}
                    end
                    {% endif %}
                ), '') as flags
            ),
            {% if stale %}
            coalesce(stale.known, false) as stale_correction
            {% else %}
            false as stale_correction
            {% endif %}
            {% if table == "stay" %}
            , ended_stay.whole_stay_id
            , ended_stay.ended_at
            , ended_stay.ended_at_local
            {% endif %}
            {% if table == "specimen" %}
            , case
                when record.nature__standard = 'blood'
                    then min(record.specimen_id) over (
                        partition by
                            record.nature__standard = 'blood', record.patient_id, record.collected_at,
                            record.purpose__standard, record.body_site
                    )
                else record.specimen_id
            end as draw_id
            {% endif %}
            {% if table == "patient" %}
            , survivor.new_id as merged_into
            {% endif %}
        from {{ "current_" ~ table }} as record
        {% for reference in orphans %}
        left join (select distinct {{ reference.to | join(", ") }}, true as known from read_parquet({{ reference.output }})) as {{ reference.name }}
            on {% for own, of in reference.pairs %}{{ reference.name }}.{{ of }} = record.{{ own }}{% if not loop.last %} and {% endif %}{% endfor %}
        {% endfor %}
        {% if any_twice %}
        left join (select *, true as known from {{ "twice_" ~ table }}) as twice
            on {% for column in key %}twice.{{ column }} is not distinct from record.{{ column }}{% if not loop.last %} and {% endif %}{% endfor %}
        {% endif %}
        {% if has_patient %}
        left join nobody on nobody.patient_id = record.patient_id
        {% endif %}
        {% if table == "stay" %}
        inner join ended_stay on ended_stay.row_uid_hi = record.row_uid_hi and ended_stay.row_uid_lo = record.row_uid_lo
        {% endif %}
        {% if table == "patient" %}
        left join survivor on survivor.old_id = record.patient_id
        {% endif %}
        {% if table == "patient_merge" %}
        left join circular on circular.old_id = record.old_patient_id
        {% endif %}
        {% if table == "administration" %}
        left join antibacterial
            on
                antibacterial.drug_code = coalesce(record.drug_code, '')
                and antibacterial.drug_label = coalesce(record.drug_label, '')
        {% endif %}
        {% if stale %}
        left join (
            select distinct
                version.row_uid_hi,
                version.row_uid_lo,
                true as known
            from {{ "current_" ~ table }} as version
            inner join {{ "rejected_" ~ table }} as rejected using (business_key)
            where
                rejected.sequence > version.sequence
                or (
                    rejected.sequence = version.sequence
                    and coalesce(rejected.source_updated_at, timestamptz '0001-01-01')
                    > coalesce(version.source_updated_at, timestamptz '0001-01-01')
                )
        ) as stale on stale.row_uid_hi = record.row_uid_hi and stale.row_uid_lo = record.row_uid_lo
        {% endif %}
    )

    select
        {% for column in written %}
        {{ column.value }} as {{ column.name }}{% if not loop.last %}, {% endif %}
        {% endfor %}
    from flagged
    order by {{ by }}, sequence, delivery_id, source_file, record_number
) to {{ target }} (format parquet, compression zstd, compression_level 1)
