-- a laboratory may write "< 0.5 S" where the category stands; each text is read once, however often it was written
with texts as materialized (
    select distinct coalesce(value, case when category is null then category_source end) as written
    from {{ ref('stg_susceptibility') }}
),

parsed as materialized (
    select
        written,
        regexp_match(
            written, '^\s*(<=|>=|=<|=>|<|>|=)?\s*([0-9]+(?:[.,][0-9]+)?)\s*(SFP|S|I|R)?\s*$', 'i'
        ) as found
    from texts
    where written is not null
),

result as (
    select
        source.hospital_id,
        source.specimen_id,
        source.isolate_number,
        source.drug_code,
        source.drug_code_source,
        source.method,
        source.operator,
        source.value,
        source.category,
        source.category_source,
        source.guideline,
        source.guideline_version,
        source.esbl,
        source.carbapenemase,
        source.pbp2a,
        parsed.found
    from {{ ref('stg_susceptibility') }} as source
    left join parsed
        on coalesce(source.value, case when source.category is null then source.category_source end) = parsed.written
)

select
    md5(hospital_id || '|' || specimen_id || '|' || isolate_number || '|' || drug_code_source) as susceptibility_key,
    md5(hospital_id || '|' || specimen_id || '|' || isolate_number) as isolate_key,
    hospital_id,
    drug_code as agent_code,
    drug_code_source as agent_code_source,
    method,
    case
        when found is not null
            then coalesce(operator, replace(replace(found[1], '=<', '<='), '=>', '>='), '=')
    end as operator,
    replace(found[2], ',', '.')::numeric as value,
    value as value_source,
    coalesce(category, case upper(found[3]) when 'SFP' then 'I' else upper(found[3]) end) as category,
    category_source,
    guideline,
    guideline_version,
    esbl = 'positive' as esbl,
    carbapenemase = 'positive' as carbapenemase,
    pbp2a = 'positive' as pbp2a,
    case
        when found is not null then 'parsed'
        when value is null then 'no value'
        else 'unparsed'
    end as value_status
from result
