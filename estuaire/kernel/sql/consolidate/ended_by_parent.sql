{% from "_parts.sql" import set_apart %}
{# What lay with its parent in the period of a full delivery ends, or stays undated. #}
create or replace temp table decided as
select
    row_uid_hi,
    row_uid_lo,
    delivery_id,
    business_key,
    source_updated_at,
    case when ended then 'ended' else 'current' end as state,
    undated and not ended as undated
from judged
where ended or undated;

{{ set_apart(table) }}
