select count(*) - count(distinct (row_uid_hi, row_uid_lo)) from {{ "landed_" ~ table }}
