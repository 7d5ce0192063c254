-- Hospital tables whose months in coverage do not hold the records received in the hospital's period (gate 3 counts the
-- months outside of it), or hospitals with a month missing.
with counted as (
    select
        hospital_id,
        table_name,
        sum(records) as records
    from {{ ref('record_month') }}
    where within_period
    group by hospital_id, table_name
),

covered as (
    select
        hospital_id,
        table_name,
        sum(records) as records,
        count(*) as months,
        min(month) as first_month,
        max(month) as last_month
    from {{ ref('coverage') }}
    group by hospital_id, table_name
)

select
    coalesce(covered.hospital_id, counted.hospital_id) as hospital_id,
    coalesce(covered.table_name, counted.table_name) as table_name
from covered
full join counted
    on
        covered.hospital_id = counted.hospital_id
        and covered.table_name = counted.table_name
where
    covered.hospital_id is null
    or covered.records is distinct from coalesce(counted.records, 0)
    or covered.months
    <> 1 + 12 * (extract(year from covered.last_month) - extract(year from covered.first_month))
    + extract(month from covered.last_month)
    - extract(month from covered.first_month)
