{# sqlfluff knows no COPY with options #}
copy ({{ rows }}) to {{ output }} (format parquet, compression zstd, compression_level 1) -- noqa: PRS
