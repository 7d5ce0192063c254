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
    ordered.pharmacy_id as prescription_id,
    ordered.subject_id as patient_id,
    ordered.hadm_id as stay_id,
    drug_code(ordered.drug, ordered.route) as drug_code,
    ordered.label as drug_label,
    in_unit_doses(ordered.dose, unit_doses.unit_doses) as dose,
    case when ordered.dose is not null then standard_unit(ordered.dose_unit_rx, unit_doses.unit_doses) end as dose_unit,
    ordered.route,
    ordered.starttime as started_at,
    ordered.stoptime as ended_at,
    'completed' as status
from ordered
left join unit_doses on ordered.drug = unit_doses.drug and ordered.dose_unit_rx = unit_doses.dose_unit
order by prescription_id
