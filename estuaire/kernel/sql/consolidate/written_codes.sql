select distinct {{ column }} from {{ "landed_" ~ table }} where {{ column }} is not null
