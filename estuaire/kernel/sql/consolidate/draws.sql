{% from "_parts.sql" import standard, code_maps, patient, is_current %}
{# Grain: one row per current specimen that is not the first of its draw: bottles of one draw have the same patient, moment and place; of blood
   alone. #}
select
    row_uid_hi,
    row_uid_lo,
    draw_id
from (
    select
        landed.row_uid_hi,
        landed.row_uid_lo,
        landed.specimen_id,
        min(landed.specimen_id) over (
            partition by
                {{ patient(moved) }},
                landed.collected_at,
                {{ standard("purpose") }},
                landed.body_site
        ) as draw_id
    from landed_specimen as landed
    {{ code_maps(codes) }}
    {% if moved %}
    left join survivor on survivor.old_id = landed.patient_id
    {% endif %}
    where {{ standard("nature") }} = 'blood' and {{ is_current("specimen") }}
) as bottle
where draw_id <> specimen_id
