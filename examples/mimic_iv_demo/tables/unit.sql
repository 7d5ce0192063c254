-- A care unit is known by its name, from the first day of the delivery on.
select
    careunit as unit_code,
    (select min(admittime)::date from admissions) as valid_from,
    careunit as unit_label,
    careunit as unit_type
from transfers
inner join transfers_fate on transfers.line = transfers_fate.line and transfers_fate.mapped_to = 'movement'
group by careunit
order by unit_code
