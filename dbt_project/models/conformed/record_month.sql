{%- set own_date = [
    ('lab_result', 'collected_at_local'),
    ('movement', 'entered_at_local'),
    ('prescription', 'started_at_local'),
    ('procedure', 'performed_at_local'),
    ('specimen', 'collected_at_local'),
    ('stay', 'admitted_at_local'),
] -%}
{%- set parent_date = [
    ('diagnosis', 'stg_stay', 'stay_id', 'admitted_at_local'),
    ('isolate', 'stg_specimen', 'specimen_id', 'collected_at_local'),
    ('susceptibility', 'stg_specimen', 'specimen_id', 'collected_at_local'),
] -%}
with dated as (
    -- of any drug: the warehouse holds the doses of antibacterials alone, and how many there were of all
    select
        hospital_id,
        'administration' as table_name,
        date_trunc('month', given_on)::date as month,
        sum(records)::bigint as records,
        max(given_on) as last_on
    from {{ ref('stg_administration_day') }}
    group by hospital_id, date_trunc('month', given_on)
    union all
    {%- for table, moment in own_date %}
        select
            hospital_id,
            '{{ table }}' as table_name,
            date_trunc('month', {{ moment }})::date as month,
            count(*) as records,
            max({{ moment }})::date as last_on
        from {{ ref('stg_' ~ table) }}
        group by hospital_id, date_trunc('month', {{ moment }})
        union all
    {%- endfor %}
    {%- for table, parent, key, moment in parent_date %}
        select
            child.hospital_id,
            '{{ table }}' as table_name,
            date_trunc('month', parent.{{ moment }})::date as month,
            count(*) as records,
            max(parent.{{ moment }})::date as last_on
        from {{ ref('stg_' ~ table) }} as child
        inner join {{ ref(parent) }} as parent
            on
                child.hospital_id = parent.hospital_id
                and child.{{ key }} = parent.{{ key }}
        group by child.hospital_id, date_trunc('month', parent.{{ moment }})
        {%- if not loop.last %}
            union all
        {%- endif %}
    {%- endfor %}
)

select
    dated.hospital_id,
    dated.table_name,
    dated.month,
    dated.records,
    dated.last_on,
    -- no series of months reaches a month that no record of this hospital can have
    coalesce(
        dated.month between date_trunc('month', hospital.first_day)::date and hospital.last_day, false
    ) as within_period
from dated
left join {{ ref('hospital') }} as hospital on dated.hospital_id = hospital.hospital_id
