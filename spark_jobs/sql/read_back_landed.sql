{# Grain: one row per written file with a row in it; rows and the sum of their identities. #}
select
    filename,
    count(*),
    coalesce(sum(row_uid_hi::hugeint), 0) + coalesce(sum(row_uid_lo::hugeint), 0)
from read_parquet([{{ paths }}], filename = true)
group by filename
