"""Gates: a stage's audit, whose verdict is data (schema ``quality``). Airflow's gate tasks only read it."""
