-- The laboratory's own category, under CLSI; a dilution as written.
select
    micro_specimen_id as specimen_id,
    isolate_number,
    ab_name as drug_code,
    case when dilution_text is not null then 'mic' end as method,
    trim(dilution_comparison) as operator,
    coalesce(dilution_value, dilution_text) as value,
    interpretation as category,
    'clsi' as guideline
from micro_isolate
where ab_name is not null
order by specimen_id, isolate_number, drug_code
