create or replace temp view {{ "landed_" ~ table }} as {{ rows }}
