"""The kernel: decodes, frames, types, flags and pseudonymises one hospital file; consolidates one hospital. No Spark, no Postgres, no Airflow."""
