"""Every metric: what it is, and by what it is told apart. docs/engineers/monitor.md tells the same; a test holds the two together.

A time is a Unix timestamp in seconds (an age is ``time() - x``), a duration seconds, a size bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Sample = tuple[str, tuple[str, ...], float]  # metric, values of its labels in order, value


@dataclass(frozen=True)
class Metric:
    """One metric. A ``counter`` only grows; its name ends in ``_total``."""

    help: str
    labels: tuple[str, ...] = ()

    @staticmethod
    def kind(name: str) -> str:
        return "counter" if name.endswith("_total") else "gauge"


def _m(help: str, *labels: str) -> Metric:
    return Metric(help, labels)


METRICS: Mapping[str, Metric] = {
    # ---------------------------------------------------------------- the scrape itself
    "estuaire_scrape_error": _m("1 where a part could not be measured in this scrape", "part"),
    "estuaire_scrape_seconds": _m("seconds that measuring a part took", "part"),
    "estuaire_database_up": _m("1 where PostgreSQL answers"),
    "estuaire_store_up": _m("1 where the object store answers"),
    "estuaire_airflow_up": _m("1 where Airflow's API answers"),
    # ---------------------------------------------------------------- deliveries and hospitals
    "estuaire_deliveries": _m("deliveries by state", "hospital", "state"),
    "estuaire_deliveries_unresolved": _m("deliveries in error that no later one has corrected", "hospital", "state"),
    "estuaire_delivery_last_received_timestamp_seconds": _m(
        "when a hospital's newest delivery was received, whatever became of it", "hospital"
    ),
    "estuaire_delivery_last_landed_timestamp_seconds": _m(
        "when a delivery of a hospital was last put into the lake", "hospital"
    ),
    "estuaire_hospital_due_timestamp_seconds": _m("by when a hospital's rhythm asks for its next delivery", "hospital"),
    "estuaire_hospital_late": _m("1 where a hospital is late: rhythm and grace have passed", "hospital"),
    "estuaire_hospital_held_back": _m(
        "1 where a hospital's newest records are kept out, and where", "hospital", "where"
    ),
    "estuaire_hospitals": _m("hospitals of the registry: readable, or wrong", "state"),
    # ---------------------------------------------------------------- records and quality
    "estuaire_records": _m(
        "records by what became of them, by the newest account of each delivery and table",
        "stage",
        "table",
        "disposition",
    ),
    "estuaire_rejected_records": _m("records set aside, by their state", "hospital", "state"),
    "estuaire_verdicts": _m("newest verdicts of the gates", "stage", "verdict"),
    "estuaire_rule_results": _m("rules by status, of the last run that each gate audited", "stage", "status"),
    # ---------------------------------------------------------------- runs and stages
    "estuaire_runs_total": _m("runs ended, by DAG and end", "dag", "state"),
    "estuaire_runs_failed_standing": _m("failed runs after which none of the same DAG has ended well", "dag"),
    "estuaire_run_last_success_timestamp_seconds": _m("when a run of a DAG last ended well", "dag"),
    "estuaire_run_started_timestamp_seconds": _m("of a run under way, when it began", "dag"),
    "estuaire_run_last_progress_timestamp_seconds": _m(
        "of a run under way, when a piece of work was last noted as done", "dag"
    ),
    "estuaire_run_stalled_after_seconds": _m("how long a run may go on without progress (a setting)"),
    "estuaire_stage_attempts_total": _m("attempts of a stage, by how they ended", "stage", "state"),
    "estuaire_stage_seconds": _m("duration of a stage's last committed attempt", "stage"),
    "estuaire_stage_gate_seconds": _m("of that, in quality gates", "stage"),
    "estuaire_stage_cpu_seconds": _m("CPU of a stage's last committed attempt, all its processes", "stage"),
    "estuaire_stage_peak_memory_bytes": _m(
        "largest resident size of any one process of a stage's last committed attempt", "stage"
    ),
    "estuaire_stage_rows": _m("rows that a stage's last committed attempt wrote", "stage"),
    "estuaire_stage_ended_timestamp_seconds": _m("when a stage's last committed attempt ended", "stage"),
    "estuaire_stage_memory_limit_bytes": _m("what the processes of a stage may take (a setting, or the machine's)"),
    # ---------------------------------------------------------------- what is served and held
    "estuaire_release_number": _m("number of the release that is served"),
    "estuaire_release_published_timestamp_seconds": _m("when it was published"),
    "estuaire_release_held_back_hospitals": _m("hospitals that it serves by older content, or not at all"),
    "estuaire_release_wanted_seconds": _m("age from which a release is too old (a setting; 0: never)"),
    "estuaire_lake_bytes": _m("bytes of the files of the lake's newest snapshot", "layer", "table"),
    "estuaire_lake_files": _m("files of the lake's newest snapshot", "layer", "table"),
    "estuaire_lake_held_bytes": _m("bytes of all files that the catalog knows, those of older snapshots too"),
    "estuaire_lake_snapshots": _m("snapshots that can be read"),
    "estuaire_landing_bytes": _m("bytes of landing's files, as the manifests declare them"),
    "estuaire_store_wanted_bytes": _m("what landing and lake are planned for (a setting; 0: never told)"),
    "estuaire_database_bytes": _m("size of the warehouse's database"),
    "estuaire_database_wanted_bytes": _m("what it is planned for (a setting; 0: never told)"),
    "estuaire_database_connections": _m("connections to the server, of all databases"),
    "estuaire_database_connections_limit": _m("how many it takes"),
    "estuaire_disk_bytes": _m("size of a disk of the platform's folders", "disk"),
    "estuaire_disk_free_bytes": _m("what is free on it", "disk"),
    "estuaire_disk_wanted_bytes": _m("what should be free on each (a setting)"),
    # ---------------------------------------------------------------- upkeep and backups
    "estuaire_upkeep_last_success_timestamp_seconds": _m("when upkeep, a backup or a restore last ended well", "what"),
    "estuaire_upkeep_failed": _m("1 where the newest upkeep, backup or restore failed", "what"),
    # ---------------------------------------------------------------- our own alerts
    "estuaire_alerts_standing": _m("conditions that the platform's own watch found and that stand", "kind", "severity"),
    "estuaire_alert_messages": _m("messages of the platform's own alerts, by state", "channel", "state"),
    # ---------------------------------------------------------------- Airflow, by its API
    "estuaire_airflow_heartbeat_timestamp_seconds": _m("last heartbeat of a part of Airflow", "part"),
    "estuaire_airflow_dag_runs": _m("runs of a DAG in Airflow's database, by state", "dag", "state"),
    "estuaire_airflow_dag_run_seconds": _m("duration of a DAG's last ended run", "dag"),
    "estuaire_airflow_dag_last_success_timestamp_seconds": _m(
        "when a run of a DAG last ended well, of its newest runs", "dag"
    ),
    "estuaire_airflow_dag_paused": _m("1 where a DAG is paused", "dag"),
    "estuaire_airflow_task_instances": _m("task instances in Airflow's database, by state", "state"),
    "estuaire_airflow_pool_slots": _m("slots of a pool, by state", "pool", "state"),
    "estuaire_airflow_import_errors": _m("DAG files that do not import"),
}
