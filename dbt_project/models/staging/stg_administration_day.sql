select
    hospital_id,
    given_on,
    records,
    given
from {{ source('staging', 'administration_day') }}
