select 1 from {{ "version_" ~ table }}
where place = 1 and twin
limit 1
