create or replace temp view {{ "parent_" ~ table }} as
select {{ key | join(", ") }} from read_parquet({{ output }})
