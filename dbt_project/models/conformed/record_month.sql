select
    hospital_id,
    'administration' as table_name,
    date_trunc('month', given_at_local)::date as month,
    count(*) as records
from {{ ref('stg_administration') }}
group by hospital_id, date_trunc('month', given_at_local)
union all
select
    hospital_id,
    'stay' as table_name,
    date_trunc('month', admitted_at_local)::date as month,
    count(*) as records
from {{ ref('stg_stay') }}
group by hospital_id, date_trunc('month', admitted_at_local)
