select
    md5(prescription.hospital_id || '|' || prescription.prescription_id) as prescription_key,
    prescription.hospital_id,
    patient_link.patient_key,
    stay.stay_key,
    prescription.drug_code as atc,
    prescription.dose,
    prescription.dose_unit,
    prescription.route,
    prescription.started_at,
    prescription.started_at_local,
    prescription.ended_at,
    prescription.ended_at_local,
    prescription.status
from {{ ref('stg_prescription') }} as prescription
inner join {{ ref('patient_link') }} as patient_link
    on
        prescription.hospital_id = patient_link.hospital_id
        and prescription.patient_id = patient_link.patient_id
left join {{ ref('stay') }} as stay
    on
        prescription.hospital_id = stay.hospital_id
        and prescription.stay_id = stay.stay_id
