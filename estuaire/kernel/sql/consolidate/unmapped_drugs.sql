{% from "_parts.sql" import standard, code_maps %}
{# Grain: one row per drug, as code and label write it, that no map knows. #}
select distinct
    coalesce(landed.drug_code, ''),
    coalesce(landed.drug_label, '')
from landed_administration as landed
{{ code_maps(codes) }}
where {{ standard("drug_code") }} is null
