-- isolate_num counts within a test and an organism only: an isolate is a specimen's (test, organism, isolate_num), numbered in that order.
select
    micro_specimen_id as specimen_id,
    isolate_number,
    org_name as organism_code,
    org_name as organism_label,
    min(quantity) as quantity,
    case when org_name = 'CANCELLED' then 'cancelled' else 'final' end as status
from micro_isolate
group by micro_specimen_id, isolate_number, org_name
order by specimen_id, isolate_number
