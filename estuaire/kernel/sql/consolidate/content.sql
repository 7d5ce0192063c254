{# Rows of a written file, and a sum of their hashes that no order of rows changes. #}
select
    count(*),
    coalesce(sum(row_hash::hugeint), 0)
from (select hash(written) as row_hash from read_parquet({{ output }}) as written)
