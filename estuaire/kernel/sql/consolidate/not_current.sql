select
    delivery_id,
    row_uid_hi,
    row_uid_lo
from {{ "apart_" ~ table }}
where state <> 'current'
