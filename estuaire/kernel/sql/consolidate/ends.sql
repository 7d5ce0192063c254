{# Grain: one row per current stay: what several records say of its end, and of which stay it is a part. #}
select
    row_uid_hi,
    row_uid_lo,
    whole_stay_id,
    ended_at,
    ended_at_local
from ended
