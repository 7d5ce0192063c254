"""The embedded stack: PostgreSQL and Airflow on one machine, on loopback only, without a container engine."""
