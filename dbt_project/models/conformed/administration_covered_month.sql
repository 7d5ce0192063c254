select
    hospital_id,
    month
from {{ ref('hospital_month') }}
where covered
