"""What the platform tells Prometheus (docs/engineers/monitor.md, docs/decisions/0023): read from the ledger, the catalog, the disks, the store
and Airflow's API at each scrape; nothing is written.

Security property: a label is a hospital's id of the registry, or a word of ours (table, stage, state, DAG): never a delivery's name, free
text or a patient's value.
"""
