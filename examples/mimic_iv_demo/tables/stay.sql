select
    hadm_id as stay_id,
    subject_id as patient_id,
    admittime as admitted_at,
    dischtime as discharged_at,
    admission_type as stay_type,
    nullif(admission_location, 'INFORMATION NOT AVAILABLE') as entry_mode,
    discharge_location as exit_mode
from admissions
order by stay_id
