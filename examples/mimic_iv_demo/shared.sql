-- What several fates and tables use.

-- One name a drug: upper case, single spaces.
create macro drug_name(written) as upper(trim(regexp_replace(written, '\s+', ' ', 'g')));

-- Of a few drugs the oral form has an ATC code of its own (lists/oral_forms.csv): the local code then says so.
create macro drug_code(named, given_by) as
    named || case
        when named in (select oral_forms.drug from oral_forms) and given_by in ('PO', 'PO/NG', 'NG', 'ORAL') then ' (ORAL)' else ''
    end;

-- Two names of one drug begin with the same word: "Vancomycin" was ordered and "Vancomycin Oral Liquid" charted.
create macro same_drug(one, other) as
    upper(regexp_extract(one, '[[:alpha:]]+')) = upper(regexp_extract(other, '[[:alpha:]]+'));

-- Doses of sulfamethoxazole-trimethoprim in unit doses of 400/80 mg (lists/unit_doses.csv): a DS tablet or a cup of 20 mL is two, an SS
-- tablet one; 600 mg of the vial are of trimethoprim alone (ordered as 37.5 mL of 16 mg/mL): 7.5.
create macro in_unit_doses(amount, each) as
    case when each is null then amount else (amount * each::decimal(10, 4))::decimal(18, 6) end;
create macro standard_unit(written, each) as case when each is null then written else '{unit_dose}' end;

-- The order behind an event, where all its lines of a drug agree.
create table pharmacy_order as
select
    pharmacy_id,
    case when count(distinct drug) = 1 then min(drug) end as drug,
    case when count(distinct route) = 1 then min(route) end as route
from prescriptions
where drug_type = 'MAIN'
group by pharmacy_id;

-- What an event gave: as charted, else as ordered.
create table emar_drug as
select
    emar.emar_id,
    drug_name(coalesce(emar.medication, pharmacy_order.drug)) as drug,
    trim(coalesce(emar.medication, pharmacy_order.drug)) as label
from emar
left join pharmacy_order on emar.pharmacy_id = pharmacy_order.pharmacy_id
where coalesce(emar.medication, pharmacy_order.drug) is not null;

create table micro_isolate as
select
    *,
    dense_rank() over (
        partition by micro_specimen_id order by test_seq::integer, org_name, isolate_num::integer
    ) as isolate_number
from microbiologyevents
where org_name is not null;
