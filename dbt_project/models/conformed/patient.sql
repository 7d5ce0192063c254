select
    patient_link.patient_key,
    case when count(distinct patient.sex) = 1 then min(patient.sex) end as sex,
    case when count(distinct patient.birth_year) = 1 then min(patient.birth_year) end as birth_year,
    min(patient.death_date) as death_date,
    count(distinct patient_link.hospital_id) as hospitals,
    count(distinct patient.sex) > 1 or count(distinct patient.birth_year) > 1 as identity_conflict,
    count(distinct patient.death_date) > 1 as death_date_conflict
from {{ ref('patient_link') }} as patient_link
left join {{ ref('stg_patient') }} as patient
    on
        patient_link.hospital_id = patient.hospital_id
        and patient_link.patient_id = patient.patient_id
group by patient_link.patient_key
