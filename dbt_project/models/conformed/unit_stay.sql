select
    md5(movement.hospital_id || '|' || movement.stay_id || '|' || movement.rank) as unit_stay_key,
    movement.hospital_id,
    stay.stay_key,
    stay.patient_key,
    movement.rank,
    unit.unit_key,
    movement.unit_code,
    movement.unit_type,
    movement.entered_at,
    movement.entered_at_local,
    movement.left_at,
    movement.left_at_local
from {{ ref('stg_movement') }} as movement
left join {{ ref('stay') }} as stay
    on
        movement.hospital_id = stay.hospital_id
        and movement.stay_id = stay.stay_id
left join lateral (
    select known.unit_key
    from {{ ref('unit') }} as known
    where
        known.hospital_id = movement.hospital_id
        and known.unit_code = movement.unit_code
        and movement.entered_at_local::date between known.valid_from and coalesce(known.valid_to, 'infinity'::date)
    order by known.valid_from desc
    limit 1
) as unit on true
