-- A passage through a unit during a stay. What begins before the admission and lasts beyond it is kept (tables/movement.sql).
select
    transfers.line,
    case when transfers.eventtype <> 'discharge' and transfers.outtime > admissions.admittime then 'movement' end as mapped_to,
    case
        when transfers.eventtype = 'discharge' then 'discharge_event'
        when admissions.hadm_id is null then 'no_admission'
        when not coalesce(transfers.outtime > admissions.admittime, false) then 'before_admission'
    end as reason
from transfers
left join admissions on transfers.hadm_id = admissions.hadm_id
