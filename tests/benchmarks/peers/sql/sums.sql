select
    coalesce(sum(row_uid_hi::hugeint), 0) + coalesce(sum(row_uid_lo::hugeint), 0)
from judged
where {% for check in checks if check.quarantine %}{{ check.name }} or {% endfor %}false
