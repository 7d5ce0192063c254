-- The first diagnosis is the one for which the stay is billed.
select
    diagnoses_icd.hadm_id as stay_id,
    diagnoses_icd.seq_num as rank,
    trim(diagnoses_icd.icd_code) as diagnosis_code,
    case diagnoses_icd.icd_version when '9' then 'icd9cm' else 'icd10cm' end as diagnosis_system,
    case when diagnoses_icd.seq_num = '1' then 'main' else 'associated' end as diagnosis_type
from diagnoses_icd
inner join diagnoses_icd_fate on diagnoses_icd.line = diagnoses_icd_fate.line and diagnoses_icd_fate.mapped_to = 'diagnosis'
order by stay_id, rank::integer
