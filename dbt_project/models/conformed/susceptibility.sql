{%- set family = 'coalesce(words.guideline, ' ~ guideline_family('words.written') ~ ')' -%}
-- a laboratory may write "< 0.5 S" where the category stands; each text is read once, however often it was written
with texts as materialized (
    select distinct coalesce(value, case when category is null then category_source end) as written
    from {{ ref('stg_susceptibility') }}
),

-- of "0.25/4" the first part is the substance's own
parsed as materialized (
    select
        written,
        regexp_match(
            written,
            '^\s*(<=|>=|=<|=>|≤|≥|<|>|=)?\s*([0-9]+(?:[.,][0-9]+)?|[.,][0-9]+)\s*(?:/\s*[0-9]*[.,]?[0-9]+)?'
            || '\s*(?:mg/l|[µμu]g/ml|mm)?\s*(SFP|S|I|R)?\s*$',
            'i'
        ) as found
    from texts
    where written is not null
),

-- so are the words for the guideline
named as materialized (
    select
        words.guideline,
        words.guideline_source,
        words.guideline_version,
        {{ family }} as family,
        {{ guideline_year(family, 'words.written') }} as year,
        {{ guideline_year("'eucast'", 'words.written') }} as year_if_eucast
    from (
        select distinct
            guideline,
            guideline_source,
            guideline_version,
            concat_ws(' ', guideline_source, guideline_version) as written
        from {{ ref('stg_susceptibility') }}
    ) as words
),

-- what the registry says of the laboratory, for specimens of its periods
usual as (
    select
        specimen.hospital_id,
        specimen.specimen_id,
        registered.guideline as family,
        {{ guideline_year('registered.guideline', 'registered.guideline_version') }} as year
    from {{ ref('stg_hospital_guideline') }} as registered
    inner join {{ ref('stg_specimen') }} as specimen
        on
            registered.hospital_id = specimen.hospital_id
            and specimen.collected_at_local::date
            between registered.valid_from and coalesce(registered.valid_to, 'infinity'::date)
),

result as (
    select
        source.hospital_id,
        source.specimen_id,
        source.isolate_number,
        source.drug_code,
        source.drug_code_source,
        source.method,
        source.method_source,
        source.breakpoint_indication,
        source.breakpoint_indication_source,
        source.disc_load,
        source.operator,
        source.value,
        source.category,
        source.category_source,
        source.guideline,
        source.guideline_version,
        source.esbl,
        source.carbapenemase,
        source.pbp2a,
        parsed.found,
        named.family as own_family,
        coalesce(named.family, usual.family) as family,
        case
            when named.family is null and usual.family = 'eucast' then named.year_if_eucast
            else named.year
        end as own_year,
        case when usual.family = coalesce(named.family, usual.family) then usual.year end as usual_year
    from {{ ref('stg_susceptibility') }} as source
    left join parsed
        on coalesce(source.value, case when source.category is null then source.category_source end) = parsed.written
    left join named
        on
            coalesce(source.guideline, '') = coalesce(named.guideline, '')
            and coalesce(source.guideline_source, '') = coalesce(named.guideline_source, '')
            and coalesce(source.guideline_version, '') = coalesce(named.guideline_version, '')
    left join usual
        on
            source.hospital_id = usual.hospital_id
            and source.specimen_id = usual.specimen_id
)

select
    md5(
        hospital_id || '|' || specimen_id || '|' || isolate_number || '|' || drug_code_source
        -- the parts of the key that may be absent
        || coalesce('|m' || method_source, '') || coalesce('|i' || breakpoint_indication_source, '')
    ) as susceptibility_key,
    md5(hospital_id || '|' || specimen_id || '|' || isolate_number) as isolate_key,
    hospital_id,
    drug_code as agent_code,
    drug_code_source as agent_code_source,
    method,
    breakpoint_indication,
    breakpoint_indication_source,
    disc_load,
    case
        when found is not null
            then coalesce(
                operator,
                replace(replace(replace(replace(found[1], '=<', '<='), '=>', '>='), '≤', '<='), '≥', '>='),
                '='
            )
    end as operator,
    replace(found[2], ',', '.')::numeric as value,
    value as value_source,
    coalesce(category, case upper(found[3]) when 'SFP' then 'I' else upper(found[3]) end) as category,
    category_source,
    guideline,
    guideline_version,
    family as guideline_family,
    coalesce(own_year, usual_year) as guideline_year,
    case
        when family is null then null
        when own_family is null or (own_year is null and usual_year is not null) then 'registry'
        else 'result'
    end as guideline_basis,
    esbl = 'positive' as esbl,
    carbapenemase = 'positive' as carbapenemase,
    pbp2a = 'positive' as pbp2a,
    case
        when found is not null then 'parsed'
        when value is null then 'no value'
        else 'unparsed'
    end as value_status
from result
