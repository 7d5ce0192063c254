select
    hospital_id,
    month
from {{ ref('record_month') }}
where table_name = 'administration'
