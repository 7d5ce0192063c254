select
    delivery_id,
    count(*),
    sum(row_uid_hi::hugeint) + sum(row_uid_lo::hugeint)
from {{ "version_" ~ table }}
where state <> 'current'
group by delivery_id
