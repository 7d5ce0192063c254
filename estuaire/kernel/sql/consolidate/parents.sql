create or replace temp table {{ "parent_" ~ table }} as
select {{ key | join(", ") }} from read_parquet({{ output }})
