select count(*)
from {{ "standing_" ~ table }}
inner join {{ "version_" ~ table }} using (row_uid_hi, row_uid_lo)
where state = 'ended'
