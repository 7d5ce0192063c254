create temp table {{ "standing_" ~ table }} as
select row_uid_hi, row_uid_lo from {{ "version_" ~ table }} where state = 'current'
