-- The day alone is known: midnight stands for the time.
select
    procedures_icd.hadm_id as stay_id,
    procedures_icd.seq_num as rank,
    trim(procedures_icd.icd_code) as procedure_code,
    case procedures_icd.icd_version when '9' then 'icd9cm' else 'icd10pcs' end as procedure_system,
    procedures_icd.chartdate::timestamp as performed_at
from procedures_icd
inner join procedures_icd_fate on procedures_icd.line = procedures_icd_fate.line and procedures_icd_fate.mapped_to = 'procedure'
order by stay_id, rank::integer
