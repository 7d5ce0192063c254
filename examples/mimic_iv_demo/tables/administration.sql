-- One row an event: its amounts summed (several products of one dose are of one unit), its route as charted or else as ordered.
with amount as (
    select
        emar_id,
        sum(try_cast(dose_given as decimal(18, 6))) as dose,
        max(dose_given_unit) filter (where dose_given is not null) as dose_unit,
        count(distinct dose_given_unit) filter (where dose_given is not null) as units,
        bool_and(try_cast(dose_given as decimal(18, 6)) is not null) filter (where dose_given is not null) as readable,
        max(route) as route
    from emar_detail
    group by emar_id
),

given as (
    select
        emar.emar_id,
        emar.subject_id,
        emar.hadm_id,
        emar.charttime,
        emar_drug.drug,
        emar_drug.label,
        case when amount.units = 1 and amount.readable then amount.dose end as dose,
        amount.dose_unit,
        coalesce(amount.route, pharmacy_order.route) as route
    from emar
    inner join emar_fate on emar.line = emar_fate.line and emar_fate.mapped_to = 'administration'
    inner join emar_drug on emar.emar_id = emar_drug.emar_id
    left join amount on emar.emar_id = amount.emar_id
    left join pharmacy_order on emar.pharmacy_id = pharmacy_order.pharmacy_id
)

select
    emar_id as administration_id,
    subject_id as patient_id,
    hadm_id as stay_id,
    drug_code(drug, route) as drug_code,
    label as drug_label,
    dose,
    case when dose is not null then dose_unit end as dose_unit,
    route,
    charttime as given_at,
    'given' as status
from given
order by administration_id
