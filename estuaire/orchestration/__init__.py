"""What the DAGs call: tasks as plain functions, and the operator that submits a stage to Spark. The DAG files only wire."""
