{% from "_parts.sql" import same_record %}
{# Grain: one row per key of which the delivery that is served held two different records of the same moment. The last of them is served,
   as the order of versions says; the export is at fault, and nothing tells which is right. #}
create or replace temp table {{ "twice_" ~ table }} as
with suspect as (
    select
        business_key,
        delivery_id,
        source_updated_at
    from {{ "apart_" ~ table }}
    where place = 1 and twin
)

select business_key
from suspect
inner join {{ "apart_" ~ table }} as version using (business_key, delivery_id)
inner join {{ "landed_" ~ table }} as landed on {{ same_record("landed", "version") }}
where version.op = 'upsert' and version.source_updated_at is not distinct from suspect.source_updated_at
group by business_key
having count(distinct hash({% for column in columns %}landed.{{ column }}{% if not loop.last %}, {% endif %}{% endfor %})) > 1
