select sum(hash(columns(*))) from read_parquet({{ path }}, hive_partitioning = false)
