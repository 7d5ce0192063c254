"""PostgreSQL's side: dbt, releases of the marts, publish, queries, who may read what."""
