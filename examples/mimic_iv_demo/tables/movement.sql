-- A passage that began before the admission (emergency department, discharge lounge) counts from the admission on.
select
    transfers.hadm_id as stay_id,
    row_number() over (partition by transfers.hadm_id order by transfers.intime, transfers.transfer_id) as rank,
    transfers.careunit as unit_code,
    transfers.careunit as unit_type,
    greatest(transfers.intime, admissions.admittime) as entered_at,
    transfers.outtime as left_at
from transfers
inner join transfers_fate on transfers.line = transfers_fate.line and transfers_fate.mapped_to = 'movement'
inner join admissions on transfers.hadm_id = admissions.hadm_id
order by stay_id, rank
