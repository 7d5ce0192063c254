-- One row an event: its amounts summed (several products of one dose are of one unit). Its route as charted, else as ordered where the
-- order is of that drug (some events bear the order of another one), else by mouth where the product is a tablet or capsule that is
-- swallowed (lists/forms_by_mouth.csv). A bag or a vial without a route stays without: no one charted how it was given.
with amount as (
    select
        emar_id,
        sum(try_cast(dose_given as decimal(18, 6))) as dose,
        max(dose_given_unit) filter (where dose_given is not null) as dose_unit,
        count(distinct dose_given_unit) filter (where dose_given is not null) as units,
        bool_and(try_cast(dose_given as decimal(18, 6)) is not null) filter (where dose_given is not null) as readable,
        max(product_unit) as product_unit,
        count(distinct product_unit) as product_units,
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
        coalesce(
            amount.route,
            case when same_drug(emar_drug.drug, pharmacy_order.drug) then pharmacy_order.route end,
            case when forms_by_mouth.drug is not null then 'PO' end
        ) as route
    from emar
    inner join emar_fate on emar.line = emar_fate.line and emar_fate.mapped_to = 'administration'
    inner join emar_drug on emar.emar_id = emar_drug.emar_id
    left join amount on emar.emar_id = amount.emar_id
    left join pharmacy_order on emar.pharmacy_id = pharmacy_order.pharmacy_id
    left join forms_by_mouth
        on
            emar_drug.drug = forms_by_mouth.drug
            and amount.product_unit = forms_by_mouth.product_unit
            and amount.product_units = 1
)

select
    given.emar_id as administration_id,
    given.subject_id as patient_id,
    given.hadm_id as stay_id,
    drug_code(given.drug, given.route) as drug_code,
    given.label as drug_label,
    in_unit_doses(given.dose, unit_doses.unit_doses) as dose,
    case when given.dose is not null then standard_unit(given.dose_unit, unit_doses.unit_doses) end as dose_unit,
    given.route,
    given.charttime as given_at,
    'given' as status
from given
left join unit_doses on given.drug = unit_doses.drug and given.dose_unit = unit_doses.dose_unit
order by administration_id
