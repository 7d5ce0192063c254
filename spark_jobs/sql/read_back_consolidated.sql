{# Grain: one row per written file and delivery; rows and the sum of their identities. #}
select
    filename,
    delivery_id,
    count(*),
    sum(row_uid_hi::hugeint) + sum(row_uid_lo::hugeint)
from read_parquet([{{ paths }}], filename = true)
group by all
