select 1 from {{ "apart_" ~ table }}
where place = 1 and twin
limit 1
