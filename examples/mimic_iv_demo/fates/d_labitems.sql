-- The names of tests stand on their results.
with used as (select distinct itemid from labevents)

select
    d_labitems.line,
    case when used.itemid is not null then 'lab_result' end as mapped_to,
    case when used.itemid is null then 'label_not_used' end as reason
from d_labitems
left join used on d_labitems.itemid = used.itemid
