with stay_night as (
    select distinct
        stay.hospital_id,
        stay.patient_key,
        stay.admitted_at_local::date + nights.n as night
    from {{ ref('stay') }} as stay
    cross join
        lateral generate_series(
            0, stay.counted_until_local::date - stay.admitted_at_local::date - 1
        ) as nights (n)
    where stay.stay_type = 'full'
),

-- of overlapping movements the latest entered holds the patient at midnight; no movement reaches beyond its stay
unit_night as (
    select distinct on (unit_stay.hospital_id, unit_stay.patient_key, unit_stay.entered_at_local::date + nights.n)
        unit_stay.hospital_id,
        unit_stay.patient_key,
        unit_stay.entered_at_local::date + nights.n as night,
        unit_stay.unit_key,
        unit_stay.unit_code,
        unit_stay.unit_type
    from {{ ref('unit_stay') }} as unit_stay
    inner join {{ ref('stay') }} as stay on unit_stay.stay_key = stay.stay_key
    cross join
        lateral generate_series(
            0,
            least(unit_stay.left_at_local, stay.counted_until_local)::date - unit_stay.entered_at_local::date - 1
        ) as nights (n)
    where stay.stay_type = 'full'
    order by
        unit_stay.hospital_id asc,
        unit_stay.patient_key asc,
        unit_stay.entered_at_local::date + nights.n asc,
        unit_stay.entered_at_local desc,
        unit_stay.rank desc,
        unit_stay.unit_stay_key asc
)

select
    stay_night.hospital_id,
    stay_night.patient_key,
    stay_night.night,
    unit_night.unit_key,
    unit_night.unit_code,
    unit_night.unit_type
from stay_night
left join unit_night
    on
        stay_night.hospital_id = unit_night.hospital_id
        and stay_night.patient_key = unit_night.patient_key
        and stay_night.night = unit_night.night
