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
union all
select
    hospital_id,
    'movement' as table_name,
    date_trunc('month', entered_at_local)::date as month,
    count(*) as records
from {{ ref('stg_movement') }}
group by hospital_id, date_trunc('month', entered_at_local)
union all
select
    hospital_id,
    'procedure' as table_name,
    date_trunc('month', performed_at_local)::date as month,
    count(*) as records
from {{ ref('stg_procedure') }}
group by hospital_id, date_trunc('month', performed_at_local)
union all
select
    hospital_id,
    'prescription' as table_name,
    date_trunc('month', started_at_local)::date as month,
    count(*) as records
from {{ ref('stg_prescription') }}
group by hospital_id, date_trunc('month', started_at_local)
union all
select
    hospital_id,
    'specimen' as table_name,
    date_trunc('month', collected_at_local)::date as month,
    count(*) as records
from {{ ref('stg_specimen') }}
group by hospital_id, date_trunc('month', collected_at_local)
union all
select
    hospital_id,
    'lab_result' as table_name,
    date_trunc('month', collected_at_local)::date as month,
    count(*) as records
from {{ ref('stg_lab_result') }}
group by hospital_id, date_trunc('month', collected_at_local)
