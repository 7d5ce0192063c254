"""The kernel: decodes, frames, types, flags and pseudonymises one hospital file. No Spark, no Postgres, no Airflow."""
