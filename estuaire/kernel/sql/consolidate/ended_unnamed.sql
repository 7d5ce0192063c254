{% from "_parts.sql" import same_record %}
{# A patient or a unit that a full delivery omits and nobody names ends. #}
update {{ "apart_" ~ table }} as apart
set state = 'ended'
from omitted
where {{ same_record("omitted", "apart") }};

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
    'ended' as state,
    false as undated
from omitted
where not exists (
    select 1 from {{ "apart_" ~ table }} as apart
    where {{ same_record("apart", "omitted") }}
)
