select
    line,
    case when icd_version in ('9', '10') then 'procedure' end as mapped_to,
    case when not coalesce(icd_version in ('9', '10'), false) then 'code_system_unknown' end as reason
from procedures_icd
