"""The operator that submits a stage to Spark."""

from __future__ import annotations

import sys
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk.exceptions import AirflowFailException

from estuaire.base.run_names import ROOT_RUN, ledger_run_id
from estuaire.base.settings import PROJECT_ROOT, Settings
from estuaire.orchestration import spark_cluster
from estuaire.report.files import build_quietly
from estuaire.storage import error_columns, ledger, s3a, set_aside
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform

SUBMIT = PROJECT_ROOT / "spark_jobs" / "submit.py"
_LOGGING = PROJECT_ROOT / "infra" / "spark" / "log4j2.properties"


MANY_RECORDS = (
    4_000_000  # audited in Spark for long enough that the JVM's second compiler pays (measured: 20 s, 11 s with it)
)


def spark_conf(settings: Settings, *, long: bool = False) -> dict[str, str]:
    """Spark's configuration: loopback only (or a cluster's authenticated lines), no web page, quick to start (for minutes the JVM's first compiler is enough).

    What ``settings.spark_conf`` names goes before what stands here.

    Args:
        long: the stage computes for long in the JVM itself.
    """
    s3a_packages = s3a.packages() if settings.store == "s3" else {}
    jvm = (
        f"-Dlog4j2.configurationFile={_LOGGING.as_uri()} "
        + ("" if long else "-XX:TieredStopAtLevel=1 ")
        + "-XX:+UseSerialGC"
    )
    return {
        **s3a_packages,
        **spark_cluster.submission(settings),
        "spark.ui.enabled": "false",
        "spark.driver.extraJavaOptions": jvm,
        "spark.executor.extraJavaOptions": jvm,  # of a cluster's: with a local master the driver is the executor
        "spark.pyspark.python": sys.executable,
        "spark.pyspark.driver.python": sys.executable,
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "4",
        # the only queries are the gates' sums: one row each, nothing to plan anew in mid-query
        "spark.sql.adaptive.enabled": "false",
        # a job to list a hundred files of one disk costs more than listing them
        "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",
        **settings.spark_conf,
    }


def pending_records(database: Database) -> int:
    """Records that the manifests of the deliveries to land declare."""
    rows = ledger.fetch(
        database,
        "select coalesce(sum((f ->> 'rows')::bigint), 0)::bigint as n from control.delivery, "
        "jsonb_array_elements(manifest::jsonb -> 'files') f where state = 'received'",
    )
    return int(rows[0]["n"])


def records_to_rebuild(database: Database) -> int:
    """Landed records of the hospitals that have landed something since they were last consolidated."""
    rows = ledger.fetch(
        database,
        "select coalesce(sum(f.rows), 0)::bigint as n from control.landed_file f left join control.consolidation c using (hospital_id) "
        "where c.hospital_id is null or exists (select 1 from control.delivery d where d.hospital_id = f.hospital_id "
        "and d.state = 'landed' and d.updated_at > c.updated_at)",
    )
    return int(rows[0]["n"])


def _committed(database: Database, run_id: str, stage: str) -> bool:
    rows = ledger.fetch(
        database,
        "select 1 from control.stage_run where run_id = %s and stage = %s and state = 'committed'",
        (run_id, stage),
    )
    return bool(rows)


def _notes(database: Database, run_id: str) -> str | None:
    """What the stages of a run said that whoever followed it should know: hospitals that a gate blocked, or that were not loaded."""
    rows = ledger.fetch(
        database,
        "select string_agg(hospital_id, ', ' order by hospital_id) as blocked from quality.verdict "
        "where run_id = %s and stage = 'consolidated' and verdict = 'block'",
        (run_id,),
    )
    told = [f"gate consolidated blocked {rows[0]['blocked']}"] if rows[0]["blocked"] else []
    left = [r for r in set_aside.standing(database) if (r["run_id"], r["stage"]) == (run_id, "load")]
    note = set_aside.not_loaded(error for r in left if (error := error_columns.read(r)) is not None)
    return "; ".join(part for part in (*told, note) if part) or None


def triggering_root(context: Any) -> str | None:
    """The ledger run that began this run's chain: by its asset events, or as `estuaire retry` names it; None if by hand."""
    roots = [
        (event.timestamp, event.extra[ROOT_RUN])
        for events in (context.get("triggering_asset_events") or {}).values()
        for event in events
        if ROOT_RUN in (event.extra or {})
    ]
    return max(roots)[1] if roots else (context["dag_run"].conf or {}).get(ROOT_RUN)


class StageSubmit(SparkSubmitOperator):
    """Submits one stage; its end is read from the ledger, and a permanent error is never retried.

    Args:
        stage: land, consolidate or load.
        after: stage of the same run that must have committed; for a task that starts whatever became of those before it.
        ends_run: the stage is the last of its DAG: the ledger's run ends with it.
    """

    def __init__(self, *, stage: str, after: str | None = None, ends_run: bool = False, **kwargs: Any) -> None:
        settings = Settings()
        super().__init__(
            application=str(SUBMIT),
            application_args=[stage, "{{ dag_run.run_id }}"],
            conn_id="spark_default",
            conf=spark_conf(settings),
            driver_memory=settings.spark_driver_memory,
            name=f"estuaire-{stage}",
            **kwargs,
        )
        self.stage = stage
        self.after = after
        self.ends_run = ends_run

    def execute(self, context: Any) -> None:
        platform = Platform(Settings())
        database = platform.database
        run = context["dag_run"]
        run_id = ledger_run_id(run.dag_id, run.run_id)
        if self.after is not None and not _committed(database, run_id, self.after):
            raise AirflowFailException(f"stage {self.after} did not commit")
        root = triggering_root(context)
        if root is not None or not ledger.fetch(database, "select 1 from control.run where run_id = %s", (run_id,)):
            ledger.start_run(database, run_id, run.dag_id, root)
        self.application_args = [self.stage, run_id]
        audited = {"land": pending_records, "consolidate": records_to_rebuild}.get(self.stage)
        # here, not where the file was parsed: the driver's own machine stands in it
        self.conf = spark_conf(platform.settings, long=audited is not None and audited(database) > MANY_RECORDS)
        try:
            super().execute(context)
        except Exception as error:
            self._fail(platform, run_id, context, error)
            raise
        for asset in self.outlets:
            context["outlet_events"][asset].extra = {ROOT_RUN: root or run_id}
        if self.ends_run:
            ledger.end_run(database, run_id, "success", _notes(database, run_id))

    def _fail(self, platform: Platform, run_id: str, context: Any, error: Exception) -> None:
        rows = ledger.fetch(
            platform.database,
            f"select state, message, retryable, {error_columns.COLUMNS} from control.stage_run where run_id = %s and stage = %s "
            "order by token desc limit 1",
            (run_id, self.stage),
        )
        # no row, or still running: the application died without a word, which a new attempt may mend
        permanent = bool(rows) and rows[0]["state"] in ("failed", "fenced") and not rows[0]["retryable"]
        fields = error_columns.read(rows[0]) if rows else None
        message = rows[0]["message"] if rows else None
        if fields is None and not message:
            message = "the Spark application ended without a word"
        last = permanent or context["ti"].try_number > self.retries
        if last:
            ledger.end_run(platform.database, run_id, "failed", message, fields)
            build_quietly(platform, run_id)
        if permanent:
            raise AirflowFailException(error_columns.said({**rows[0], "message": message})) from error
