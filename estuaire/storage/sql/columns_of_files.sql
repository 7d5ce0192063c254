describe select * from read_parquet([{{ paths }}], union_by_name = true, hive_partitioning = false) -- noqa: PRS
