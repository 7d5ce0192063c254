{{ config(indexes=[{'columns': ['specimen_key'], 'unique': true}]) }}

select
    md5(specimen.hospital_id || '|' || specimen.specimen_id) as specimen_key,
    md5(specimen.hospital_id || '|' || specimen.draw_id) as draw_key,
    specimen.hospital_id,
    patient_link.patient_key,
    stay.stay_key,
    unit.unit_key,
    specimen.nature,
    specimen.nature_source,
    specimen.body_site,
    specimen.purpose,
    patient_link.of_unknown_patient,
    specimen.collected_at,
    specimen.collected_at_local,
    specimen.received_at,
    specimen.validated_at
from {{ ref('stg_specimen') }} as specimen
inner join {{ ref('patient_link') }} as patient_link
    on
        specimen.hospital_id = patient_link.hospital_id
        and specimen.patient_id = patient_link.patient_id
left join {{ ref('stay') }} as stay
    on
        specimen.hospital_id = stay.hospital_id
        and specimen.stay_id = stay.stay_id
left join lateral (
    select known.unit_key
    from {{ ref('unit') }} as known
    where
        known.hospital_id = specimen.hospital_id
        and known.unit_code = specimen.unit_code
        and specimen.collected_at_local::date between known.valid_from and coalesce(known.valid_to, 'infinity'::date)
    order by known.valid_from desc
    limit 1
) as unit on true
