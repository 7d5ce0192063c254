select min(sequence) from {{ "version_" ~ table }} where state = 'current'
