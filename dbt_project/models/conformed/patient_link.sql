{{ config(indexes=[{'columns': ['hospital_id', 'patient_id'], 'unique': true}]) }}

with mentioned as (
    select
        hospital_id,
        patient_id
    from {{ ref('stg_patient_map') }}
    union
    select
        hospital_id,
        patient_id
    from {{ ref('stg_patient') }}
    union
    select
        hospital_id,
        patient_id
    from {{ ref('stg_stay') }}
    union
    select
        hospital_id,
        patient_id
    from {{ ref('stg_administration') }}
    union
    select
        hospital_id,
        patient_id
    from {{ ref('stg_prescription') }}
    union
    select
        hospital_id,
        patient_id
    from {{ ref('stg_specimen') }}
    union
    select
        hospital_id,
        patient_id
    from {{ ref('stg_lab_result') }}
)

select
    mentioned.hospital_id,
    mentioned.patient_id,
    -- A patient whom a hospital mentions and never delivered keeps an identity of their own: no stay or dose is lost.
    coalesce(
        patient_map.patient_key, md5(mentioned.hospital_id || '|' || mentioned.patient_id)
    ) as patient_key,
    coalesce(patient_map.link_method, 'not_delivered') as link_method
from mentioned
left join {{ ref('stg_patient_map') }} as patient_map
    on
        mentioned.hospital_id = patient_map.hospital_id
        and mentioned.patient_id = patient_map.patient_id
