{{ config(indexes=[{'columns': ['hospital_id', 'patient_id'], 'unique': true}]) }}
{%- set naming = ['patient', 'stay', 'administration', 'prescription', 'specimen', 'lab_result'] %}

with told as (
    select
        hospital_id,
        patient_id,
        false as names_nobody
    from {{ ref('stg_patient_map') }}
    {%- for table in naming %}
        union
        select
            hospital_id,
            patient_id,
            {{ names_nobody('flags') }} as names_nobody
        from {{ ref('stg_' ~ table) }}
    {%- endfor %}
),

mentioned as (
    select
        hospital_id,
        patient_id,
        bool_or(names_nobody) as of_unknown_patient
    from told
    group by hospital_id, patient_id
)

select
    mentioned.hospital_id,
    mentioned.patient_id,
    -- A patient whom a hospital mentions and never delivered keeps an identity of their own: no stay or dose is lost.
    coalesce(
        patient_map.patient_key, md5(mentioned.hospital_id || '|' || mentioned.patient_id)
    ) as patient_key,
    coalesce(patient_map.link_method, 'not_delivered') as link_method,
    mentioned.of_unknown_patient
from mentioned
left join {{ ref('stg_patient_map') }} as patient_map
    on
        mentioned.hospital_id = patient_map.hospital_id
        and mentioned.patient_id = patient_map.patient_id
