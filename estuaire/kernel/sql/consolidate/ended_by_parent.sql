{% from "_parts.sql" import same_record %}
{# What lay with its parent in the period of a full delivery ends, or stays undated. #}
update {{ "apart_" ~ table }} as apart
set state = case when judged.ended then 'ended' else 'current' end, undated = judged.undated and not judged.ended
from judged
where (judged.ended or judged.undated) and {{ same_record("judged", "apart") }};

insert into {{ "apart_" ~ table }}
select
    row_uid_hi,
    row_uid_lo,
    delivery_id,
    business_key,
    source_updated_at,
    'upsert' as op,
    1 as place,
    false as twin,
    case when ended then 'ended' else 'current' end as state,
    undated and not ended as undated
from judged
where
    (ended or undated)
    and not exists (
        select 1 from {{ "apart_" ~ table }} as apart
        where {{ same_record("apart", "judged") }}
    )
