{% from "_parts.sql" import set_apart %}
{# A patient or a unit that a full delivery omits and nobody names ends. #}
create or replace temp table decided as
select
    row_uid_hi,
    row_uid_lo,
    delivery_id,
    business_key,
    source_updated_at,
    'ended' as state,
    false as undated
from omitted;

{{ set_apart(table) }}
