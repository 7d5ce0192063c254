-- A dose that is a range ("1-2") has no one amount: it is left empty, with its unit.
with ordered as (
    select
        prescriptions.pharmacy_id,
        prescriptions.subject_id,
        prescriptions.hadm_id,
        drug_name(prescriptions.drug) as drug,
        prescriptions.drug as label,
        try_cast(prescriptions.dose_val_rx as decimal(18, 6)) as dose,
        prescriptions.dose_unit_rx,
        prescriptions.route,
        prescriptions.starttime,
        prescriptions.stoptime
    from prescriptions
    inner join prescriptions_fate
        on prescriptions.line = prescriptions_fate.line and prescriptions_fate.mapped_to = 'prescription'
)

select
    pharmacy_id as prescription_id,
    subject_id as patient_id,
    hadm_id as stay_id,
    drug_code(drug, route) as drug_code,
    label as drug_label,
    dose,
    case when dose is not null then dose_unit_rx end as dose_unit,
    route,
    starttime as started_at,
    stoptime as ended_at,
    'completed' as status
from ordered
order by prescription_id
