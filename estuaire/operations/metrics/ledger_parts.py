"""What the ledger, the gates' tables and the lake's catalog tell. Each part: one look -> samples; counts and times only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import psutil

from estuaire.operations.metrics.catalogue import Sample
from estuaire.operations.metrics.look import Look
from estuaire.runs import current_state
from estuaire.runs.current_state import Row
from estuaire.storage.held_hospitals import read

_GIB = 2**30
_DAY = 86400.0


def deliveries(look: Look) -> Iterator[Sample]:
    """Deliveries by hospital and state; those that need a hand."""
    rows = look.ask("select hospital_id, state, count(*) as n from control.delivery group by 1, 2")
    yield from _by_hospital(look, "estuaire_deliveries", rows)
    unresolved = Counter(
        (look.hospital(row["hospital_id"]), row["state"])
        for row in current_state.unresolved_deliveries(look.ask, current_state.BLOCKED + current_state.HELD)
    )
    yield from (("estuaire_deliveries_unresolved", key, n) for key, n in sorted(unresolved.items()))


def hospitals(look: Look) -> Iterator[Sample]:
    """Freshness against the rhythm, and who is held back."""
    for row in look.ask(
        "select hospital_id, extract(epoch from max(received_at) filter (where state <> 'withdrawn')) as received, "
        "extract(epoch from max(updated_at) filter (where state = 'landed')) as landed from control.delivery group by 1"
    ):
        name = row["hospital_id"]
        if look.hospital(name) == name:
            for what in ("received", "landed"):
                if row[what] is not None:
                    yield f"estuaire_delivery_last_{what}_timestamp_seconds", (name,), row[what]
    for one in current_state.rhythms(look.ask, look.registry, look.now, look.settings.alert_late_grace_days):
        yield "estuaire_hospital_due_timestamp_seconds", (one.hospital,), one.due.timestamp()
        yield "estuaire_hospital_late", (one.hospital,), one.late
    kept_out = {(look.hospital(row["hospital_id"]), row["stage"]) for row in current_state.stopped_hospitals(look.ask)}
    for row in current_state.served_release(look.ask):
        kept_out |= {(look.hospital(hospital), "publish") for hospital in read(row["held_back"])}
    kept_out |= {(hospital, "registry") for hospital in look.registry.wrong}
    yield from (("estuaire_hospital_held_back", key, 1) for key in sorted(kept_out))
    yield "estuaire_hospitals", ("readable",), len(look.registry.hospitals)
    yield "estuaire_hospitals", ("wrong",), len(look.registry.wrong)


_DISPOSITIONS = ("out", "quarantined", "superseded", "unparseable", "not_loaded")


_ACCOUNT = "stage, hospital_id, delivery_id, table_name"


def records(look: Look) -> Iterator[Sample]:
    """The newest account of each stage, delivery and table, added up, as `estuaire accounting` shows them: a stage's tokens only grow."""
    sums = ", ".join(f"sum(rows_{d})::bigint as {d}" for d in _DISPOSITIONS)
    for row in look.ask(
        f"select stage, table_name, {sums} from control.accounting "
        f"join (select {_ACCOUNT}, max(token) as token from control.accounting group by {_ACCOUNT}) newest using ({_ACCOUNT}, token) "
        "group by 1, 2 order by 1, 2"
    ):
        for disposition in _DISPOSITIONS:
            yield "estuaire_records", (row["stage"], row["table_name"], disposition), row[disposition]


def rejected(look: Look) -> Iterator[Sample]:
    """The queue of records that were set aside."""
    rows = look.ask("select hospital_id, state, count(*) as n from control.rejected_record group by 1, 2")
    yield from _by_hospital(look, "estuaire_rejected_records", rows)


def _by_hospital(look: Look, name: str, rows: list[Row]) -> Iterator[Sample]:
    """Counts by hospital and state; those of unknown hospitals are one."""
    counted: Counter[tuple[str, str]] = Counter()
    for row in rows:
        counted[look.hospital(row["hospital_id"]), row["state"]] += row["n"]
    yield from ((name, key, n) for key, n in sorted(counted.items()))


_NEWEST_VERDICTS = """
select stage, verdict, count(*) as n from (
    select distinct on (v.stage, v.hospital_id, v.delivery_id) v.stage, v.verdict
    from quality.verdict v join control.run r using (run_id)
    order by v.stage, v.hospital_id, v.delivery_id, r.started_at desc) newest
group by 1, 2 order by 1, 2
"""
_LAST_RESULTS = """
select q.stage, q.status, count(*) as n from quality.result q
join (select distinct on (v.stage) v.stage, v.run_id from quality.verdict v join control.run r using (run_id)
      order by v.stage, r.started_at desc) last using (stage, run_id)
group by 1, 2 order by 1, 2
"""


def quality(look: Look) -> Iterator[Sample]:
    """Verdicts as they stand, and the rules' statuses of each gate's last audit."""
    for row in look.ask(_NEWEST_VERDICTS):
        yield "estuaire_verdicts", (row["stage"], row["verdict"]), row["n"]
    for row in look.ask(_LAST_RESULTS):
        yield "estuaire_rule_results", (row["stage"], row["status"]), row["n"]


def runs(look: Look) -> Iterator[Sample]:
    """How runs ended, and how those under way get on."""
    for row in look.ask(
        "select dag_id, state, count(*) as n from control.run where state <> 'running' group by 1, 2 order by 1, 2"
    ):
        yield "estuaire_runs_total", (row["dag_id"], row["state"]), row["n"]
    for row in look.ask(
        "select dag_id, extract(epoch from max(ended_at)) as ended from control.run "
        "where state in ('success', 'nothing_new') group by 1 order by 1"
    ):
        yield "estuaire_run_last_success_timestamp_seconds", (row["dag_id"],), row["ended"]
    failed = Counter(row["dag_id"] for row in current_state.failed_runs(look.ask))
    for row in look.ask("select distinct dag_id from control.run order by 1"):
        yield "estuaire_runs_failed_standing", (row["dag_id"],), failed[row["dag_id"]]
    for row in current_state.runs_under_way(look.ask):
        yield "estuaire_run_last_progress_timestamp_seconds", (row["dag_id"],), row["noted"].timestamp()
        [began] = look.ask(
            "select extract(epoch from started_at) as at from control.run where run_id = %s", (row["run_id"],)
        )
        yield "estuaire_run_started_timestamp_seconds", (row["dag_id"],), began["at"]
    yield "estuaire_run_stalled_after_seconds", (), look.settings.alert_stalled_minutes * 60


_STAGE_COLUMNS = {
    "seconds": "estuaire_stage_seconds",
    "gate_seconds": "estuaire_stage_gate_seconds",
    "cpu_seconds": "estuaire_stage_cpu_seconds",
    "peak_memory_bytes": "estuaire_stage_peak_memory_bytes",
    "rows": "estuaire_stage_rows",
    "ended": "estuaire_stage_ended_timestamp_seconds",
}


def stages(look: Look) -> Iterator[Sample]:
    """What the last committed attempt of each stage cost, and how attempts ended."""
    for row in look.ask(
        "select distinct on (stage) *, extract(epoch from ended_at) as ended from control.stage_run "
        "where state = 'committed' order by stage, token desc"
    ):
        for column, name in _STAGE_COLUMNS.items():
            if row[column] is not None:
                yield name, (row["stage"],), row[column]
    for row in look.ask(
        "select stage, state, count(*) as n from control.stage_run where state <> 'running' group by 1, 2 order by 1, 2"
    ):
        yield "estuaire_stage_attempts_total", (row["stage"], row["state"]), row["n"]
    limit = look.settings.metrics_stage_memory
    yield "estuaire_stage_memory_limit_bytes", (), _bytes(limit) if limit else psutil.virtual_memory().total


def _bytes(text: str) -> int:
    return int(text[:-1]) << {"m": 20, "g": 30}[text[-1]]


def release(look: Look) -> Iterator[Sample]:
    """What is served."""
    for row in current_state.served_release(look.ask):
        yield "estuaire_release_number", (), row["release_id"]
        yield "estuaire_release_published_timestamp_seconds", (), row["published_at"].timestamp()
        yield "estuaire_release_held_back_hospitals", (), len(row["held_back"])
    yield "estuaire_release_wanted_seconds", (), look.settings.alert_release_days * _DAY


_LAKE = """
select s.schema_name as layer, t.table_name, count(f.data_file_id) as files,
    coalesce(sum(f.file_size_bytes), 0)::bigint as bytes
from lake.ducklake_table t join lake.ducklake_schema s using (schema_id)
left join lake.ducklake_data_file f on f.table_id = t.table_id and f.end_snapshot is null
where t.end_snapshot is null and s.end_snapshot is null group by 1, 2 order by 1, 2
"""


def lake(look: Look) -> Iterator[Sample]:
    """Files and bytes by the catalog and the manifests; no listing of the store."""
    if current_state.has_catalog(look.ask):
        for row in look.ask(_LAKE):
            yield "estuaire_lake_bytes", (row["layer"], row["table_name"]), row["bytes"]
            yield "estuaire_lake_files", (row["layer"], row["table_name"]), row["files"]
        yield "estuaire_lake_held_bytes", (), current_state.lake_bytes(look.ask)
        [snapshots] = look.ask("select count(*) as n from lake.ducklake_snapshot")
        yield "estuaire_lake_snapshots", (), snapshots["n"]
    yield "estuaire_landing_bytes", (), current_state.landing_bytes(look.ask)
    yield "estuaire_store_wanted_bytes", (), look.settings.alert_store_gib * _GIB


def database(look: Look) -> Iterator[Sample]:
    """PostgreSQL itself."""
    yield "estuaire_database_bytes", (), current_state.database_bytes(look.ask)
    yield "estuaire_database_wanted_bytes", (), look.settings.alert_database_gib * _GIB
    [row] = look.ask(
        "select (select sum(numbackends) from pg_stat_database) as used, current_setting('max_connections')::int as most"
    )
    yield "estuaire_database_connections", (), row["used"]
    yield "estuaire_database_connections_limit", (), row["most"]


def upkeep(look: Look) -> Iterator[Sample]:
    """When upkeep and a backup last ended well, and whether the newest of each did."""
    for row in look.ask(
        "select kind, extract(epoch from max(ended_at) filter (where succeeded)) as well, "
        "(array_agg(succeeded order by upkeep_id desc))[1] as newest from control.upkeep group by 1 order by 1"
    ):
        if row["well"] is not None:
            yield "estuaire_upkeep_last_success_timestamp_seconds", (row["kind"],), row["well"]
        yield "estuaire_upkeep_failed", (row["kind"],), not row["newest"]


def alerts(look: Look) -> Iterator[Sample]:
    """Our own alerts: what their watch found, and whether it reaches anybody."""
    rows = look.ask(
        "select kind, severity, count(*) as n from control.alert where resolved_at is null group by 1, 2 order by 1, 2"
    )
    yield from (("estuaire_alerts_standing", (r["kind"], r["severity"]), r["n"]) for r in rows)
    for row in look.ask("select channel, state, count(*) as n from control.alert_message group by 1, 2 order by 1, 2"):
        yield "estuaire_alert_messages", (row["channel"], row["state"]), row["n"]


LEDGER_ONLY = ("records",)  # they change with the stages alone: measured again only after one has ended


def stages_ended(look: Look) -> object:
    """What changes with every stage that ends."""
    [row] = look.ask("select count(*) as n, max(ended_at) as last from control.stage_run where state <> 'running'")
    return row["n"], row["last"]


PARTS: dict[str, Any] = {
    part.__name__: part
    for part in (
        deliveries,
        hospitals,
        records,
        rejected,
        quality,
        runs,
        stages,
        release,
        lake,
        database,
        upkeep,
        alerts,
    )
}
