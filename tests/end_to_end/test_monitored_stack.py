"""Metrics of a whole stack after a small simulation, read by a real Prometheus: every panel has data, every rule can be evaluated, what is
planted fires, and a real Alertmanager brings it to a mail server and a webhook."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
import yaml
from alert_servers import Hook, Mailbox, hook_server, mail_server
from monitors import Page, Programs, hurried, monitors, served, until
from psycopg2.extensions import connection as Connection

from estuaire.base.settings import PROJECT_ROOT, Settings
from estuaire.contract.registry import FOLDER
from estuaire.operations.alerts import delivering
from estuaire.operations.pipeline_run import follow
from estuaire.simulator import SimulationPlan, simulate
from estuaire.stack import airflow, exporter, lifecycle, processes
from estuaire.stack import postgres as postgres_server
from estuaire.stack.airflow_client import AirflowClient
from estuaire.stack.exporter import TOKEN
from estuaire.storage import ledger
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform

__all__ = ["monitors"]
pytestmark = [pytest.mark.stack, pytest.mark.alerts]

BEGAN = time.time()  # no part of this stack was alive before
BAD = ("h02", "2025-11-delta")
GRAFANA = PROJECT_ROOT / "infra" / "grafana"
PANELS = [
    pytest.param(panel["query"], id=panel["title"])
    for dashboard in yaml.safe_load((GRAFANA / "panels.yml").read_text(encoding="utf-8")).values()
    for panel in dashboard["panels"]
]
# what the fixture's settings and rows make true
PLANTED = {
    "BlockedDeliveryLeft", "LateHospitalLeft", "FailedRunLeft", "OldReleaseLeft", "StalledRunLeft", "HospitalHeldBackLeft",
    "DiskAlmostFull", "StoreNearsPlan", "DatabaseNearsPlan", "StageMemoryNearLimit", "GateErrors", "DagPaused",
    "UpkeepFailed", "BackupOld",
}  # fmt: skip

# what takes days or load, the windows of its rule made short (monitors.hurried)
SLOW = {
    "HeartbeatLost", "WatchSilent", "AlertsUndelivered", "PoolExhausted", "StageFailsAgain", "DiskFullTomorrow",
    "ConnectionsNearlyUsed", "RejectedQueueGrows", "HeldDeliveryLeft", "HospitalsLateTogether",
}  # fmt: skip
CONNECTIONS = 90  # of 100: the rule tells above 85
DEAD = {"DagImportError", "AirflowDown", "DatabaseDown", "StoreDown", "PartNotMeasured", "ExporterDown"}
LATE = ("h01", "h03", "h04")  # agreed to deliver each month, and have not for 200 days


@dataclass
class Watched:
    settings: Settings
    prometheus: Page
    alertmanager: Page
    mailbox: Mailbox
    hook: Hook

    def firing(self) -> set[str]:
        return {
            a["labels"]["alertname"] for a in self.prometheus.get("/api/v1/alerts")["alerts"] if a["state"] == "firing"
        }


@pytest.fixture(scope="module")
def stack(own_settings: Settings, free_port: Callable[[], int]) -> Iterator[Settings]:
    """Two hospitals, a history and a delta each, one of them damaged; published by the real scheduler."""
    registry = own_settings.home.parent / "registry"
    shutil.copytree(FOLDER, registry, ignore=shutil.ignore_patterns("__pycache__"))
    for hospital in LATE:
        described = registry / "hospitals" / f"{hospital}.yml"
        document = yaml.safe_load(described.read_text(encoding="utf-8")) | {"rhythm_days": 31}
        described.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    settings = own_settings.model_copy(
        update={
            "registry_dir": registry,
            "metrics_port": free_port(), "metrics_stage_memory": "1m", "alert_disk_free_gib": 1e6, "alert_store_gib": 1e-6,
            "alert_database_gib": 1e-3, "alert_webhook_url": "http://127.0.0.1:9/closed",
        }
    )  # fmt: skip
    try:
        lifecycle.up(settings)
        for sequence in (1, 2):
            simulate(
                settings,
                SimulationPlan(patients=60, hospitals=("h01", "h02"), upto_sequence=sequence, bad_checksum=(BAD,)),
            )
        follow(Platform(settings), lambda _: None)
        delivering.check(Platform(settings))
        yield settings
    finally:
        lifecycle.down(settings)


def _plant(settings: Settings) -> None:
    """What needs a hand, each as the ledger would hold it."""
    ledger.start_run(Database.of(settings), "consolidate-left", "left_dag")
    ledger.end_run(Database.of(settings), "consolidate-left", "failed", "[E] x")
    ledger.start_run(Database.of(settings), "publish-stalled", "stalled_dag")
    with Database.of(settings).transaction() as connection, connection.cursor() as cursor:
        for statement in (
            "update control.run set started_at = now() - interval '5 hours' where run_id = 'publish-stalled'",
            "update control.delivery set received_at = now() - interval '200 days' where hospital_id = 'h01'",
            "update control.release set published_at = now() - interval '200 days' where state = 'published'",
            "insert into control.upkeep (kind, started_at, succeeded, bytes, done, message) values "
            "('upkeep', now(), true, 0, '{}', ''), ('upkeep', now(), false, 0, '{}', 'x')",
            "insert into control.set_aside (hospital_id, stage, run_id, error_code, error_what, error_remedy) "
            "values ('h01', 'land', 'consolidate-left', 'E', 'x', 'y')",
            "update quality.result set status = 'error' where ctid = (select r.ctid from quality.result r join quality.verdict v "
            "using (run_id, stage) join control.run c using (run_id) where r.stage = 'marts' order by c.started_at desc limit 1)",
        ):
            cursor.execute(statement)
    with AirflowClient(settings) as client:
        client._call("PATCH", "/dags/publish_marts", json={"is_paused": True})


@pytest.fixture(scope="module")
def watched(
    stack: Settings, monitors: Programs, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    _plant(stack)
    folder = tmp_path_factory.mktemp("monitors")
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "prometheus_password").write_text("correct-horse-battery-staple\n", encoding="utf-8")
    (secrets / TOKEN).write_text(stack.secret(TOKEN), encoding="utf-8")
    ports = {"metrics:9187": stack.metrics_port, "localhost:9090": free_port(), "alertmanager:9093": free_port()}
    hurried(folder / "conf", ports, secrets)
    with ExitStack() as running:
        box = running.enter_context(mail_server(free_port()))
        hook = running.enter_context(hook_server())
        (secrets / "operator_webhook_url").write_text(hook.url + "\n", encoding="utf-8")
        given = {
            "ESTUAIRE_OPERATOR_SMTP": f"127.0.0.1:{box.port}", "ESTUAIRE_OPERATOR_FROM": "estuaire@example.org",
            "ESTUAIRE_OPERATOR_TO": "operator@example.org", "ESTUAIRE_OPERATOR_TLS": "false",
        }  # fmt: skip
        pages = {}
        for part, name in (("alertmanager", "alertmanager:9093"), ("prometheus", "localhost:9090")):
            pages[part] = running.enter_context(
                served(
                    monitors, part, folder / part, ports[name], configuration=folder / "conf", secrets=secrets, **given
                )
            )
        until(
            lambda: pages["prometheus"].query("up == 1") and len(pages["prometheus"].query("up")) == 3, 60, "no scrape"
        )
        until(lambda: pages["prometheus"].query("estuaire_records"), 60, "the exporter was not scraped")
        yield Watched(stack, pages["prometheus"], pages["alertmanager"], box, hook)


def test_the_page_is_a_part_of_the_stack(stack: Settings) -> None:
    [part] = [p for p in lifecycle.status(stack) if p.name == exporter.NAME]
    assert part.state == "running"
    answer = httpx2.get(f"http://127.0.0.1:{stack.metrics_port}/metrics", trust_env=False, timeout=30)
    assert answer.status_code == 401


def test_every_target_is_scraped(watched: Watched) -> None:
    targets = watched.prometheus.get("/api/v1/targets")["activeTargets"]
    assert {t["labels"]["job"]: (t["health"], t["lastError"]) for t in targets} == dict.fromkeys(
        ("estuaire", "prometheus", "alertmanager"), ("up", "")
    )
    assert watched.prometheus.query("estuaire_scrape_error == 1") == []


@pytest.mark.parametrize("query", PANELS)
def test_a_panel_has_data(watched: Watched, query: str) -> None:
    found = watched.prometheus.query(query)
    assert found
    assert all(sample["value"][1] != "NaN" for sample in found)


def test_airflow_is_told_as_its_api_tells_it(watched: Watched) -> None:
    def values(query: str, *labels: str) -> dict[tuple[str, ...], float]:
        return {
            tuple(s["metric"][label] for label in labels): float(s["value"][1]) for s in watched.prometheus.query(query)
        }

    with AirflowClient(watched.settings) as client:
        dags = {d["dag_id"] for d in client.dags()}
        ended = [r for r in client.dag_runs("ingest_deliveries") if r["state"] in ("success", "failed")]
    assert set(values("estuaire_airflow_dag_paused", "dag")) == {(d,) for d in dags}
    assert values("estuaire_airflow_dag_runs", "dag", "state")["ingest_deliveries", "success"] == len(ended)
    assert set(values("estuaire_airflow_heartbeat_timestamp_seconds", "part")) == {
        ("scheduler",), ("dag-processor",), ("triggerer",),
    }  # fmt: skip
    assert min(values("estuaire_airflow_heartbeat_timestamp_seconds", "part").values()) >= BEGAN
    assert values('estuaire_airflow_pool_slots{pool="default_pool"}', "state")["open",] > 0
    assert values("estuaire_airflow_dag_run_seconds", "dag")["ingest_deliveries",] > 0


def test_every_rule_is_evaluated_and_what_is_planted_fires(watched: Watched) -> None:
    until(lambda: watched.firing() >= PLANTED, 60, f"not all fire: {PLANTED - watched.firing()}")
    rules = [r for g in watched.prometheus.get("/api/v1/rules")["groups"] for r in g["rules"]]
    assert {r["name"]: (r["health"], r.get("lastError")) for r in rules} == {r["name"]: ("ok", None) for r in rules}
    alerts = [a for r in rules for a in r["alerts"]]
    texts = [text for a in alerts for text in a["annotations"].values()]
    assert [t for t in texts if "<error" in t or "<no value>" in t or "{{" in t] == []
    [blocked] = [a for a in alerts if a["labels"]["alertname"] == "BlockedDeliveryLeft"]
    assert blocked["labels"]["hospital"] == BAD[0]
    assert not watched.firing() & {
        "ExporterDown",
        "DatabaseDown",
        "AirflowDown",
        "HeartbeatLost",
        "StoreDown",
        "PartNotMeasured",
    }


def test_the_operator_gets_mail_and_webhook_grouped_with_what_to_do(watched: Watched) -> None:
    def told() -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for _, _, body in list(watched.hook.got):
            for alert in json.loads(body)["alerts"]:
                found.setdefault(alert["labels"]["alertname"], []).append(alert)
        return found

    until(lambda: set(told()) >= PLANTED, 90, "the webhook was not called of all")
    assert "estuaire explain" in told()["BlockedDeliveryLeft"][0]["annotations"]["remedy"]
    until(lambda: any("BlockedDeliveryLeft" in str(m["Subject"]) for m in watched.mailbox.letters), 60, "no mail")
    assert all(recipients == ["operator@example.org"] for recipients in watched.mailbox.recipients)


def test_the_pages_ask_who_calls(watched: Watched) -> None:
    for page in (watched.prometheus, watched.alertmanager):
        for path in ("/", "/api/v1/alerts", "/api/v2/alerts", "/metrics", "/-/healthy"):
            for auth in (None, ("estuaire", "wrong"), ("admin", page.password)):
                answer = httpx2.get(f"{page.url}{path}", auth=auth, trust_env=False, timeout=30)
                assert answer.status_code == 401, path


def test_every_rule_is_named_here() -> None:
    rules = yaml.safe_load((PROJECT_ROOT / "infra/prometheus/rules/estuaire.yml").read_text(encoding="utf-8"))
    assert {r["alert"] for g in rules["groups"] for r in g["rules"]} == PLANTED | SLOW | DEAD


def _reject(settings: Settings, first: int, last: int) -> None:
    _execute(
        settings,
        "insert into control.rejected_record (hospital_id, delivery_id, table_name, file, record_number, line_number, byte_offset, "
        "byte_length, row_uid_hi, row_uid_lo, disposition, rule_ids, columns, sequence, run_id) "
        f"select 'h03', 'd', 'stay', 'stay.csv', n, n, n, 1, n, n, 'quarantined', 'r', 'c', 1, 'r' from generate_series({first}, {last}) n",
    )


def _fail(settings: Settings, first: int, last: int) -> None:
    _execute(
        settings,
        "insert into control.stage_run (run_id, stage, token, state, ended_at) "
        f"select 'consolidate-left', 'consolidate', 900000 + n, 'failed', now() from generate_series({first}, {last}) n",
    )


def _execute(settings: Settings, statement: str) -> None:
    with Database.of(settings).transaction() as connection, connection.cursor() as cursor:
        cursor.execute(statement)


def _connections(probe: Connection) -> int:
    with probe.cursor() as cursor:
        cursor.execute("select sum(numbackends)::int from pg_stat_database")
        [(used,)] = cursor.fetchall()
        return int(used)


def test_what_takes_days_or_load_is_told_too(watched: Watched) -> None:
    """Held deliveries, late hospitals and a queue by rows; a full pool and a part that is gone in Airflow, a disk that fills and
    connections, really."""
    settings = watched.settings
    processes.stop(settings, "triggerer")
    with AirflowClient(settings) as client:
        client._call(
            "PATCH", "/pools/default_pool", params={"update_mask": "slots"}, json={"pool": "default_pool", "slots": 0}
        )
        client.unpause("ingest_deliveries")
        client.trigger("ingest_deliveries")
    _execute(
        settings,
        "insert into control.delivery (hospital_id, delivery_id, state, error_code, received_at) select h, 'd', 'held', 'E_HELD', "
        "now() - interval '200 days' from unnest(array['h03', 'h04']) h",
    )
    _reject(settings, 1, 1)
    _fail(settings, 1, 1)
    until(lambda: watched.prometheus.query('estuaire_rejected_records{hospital="h03"} == 1'), 60, "no scrape")
    until(
        lambda: watched.prometheus.query('estuaire_rejected_records{hospital="h03"} offset 30s'), 60, "no older scrape"
    )
    _reject(settings, 2, 3000)
    _fail(settings, 2, 9)
    filler = settings.root / "filler"
    with contextlib.ExitStack() as held:
        held.callback(filler.unlink)
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 3 << 30)
        probe = held.enter_context(Database.of(settings).session())
        probe.set_session(autocommit=True)
        fired: set[str] = set()

        def all_fired() -> bool:
            for _ in range(
                CONNECTIONS - _connections(probe)
            ):  # others come and go; the page of metrics needs one for itself
                held.enter_context(Database.of(settings).session())
            fired.update(watched.firing())
            return fired >= SLOW

        with contextlib.suppress(AssertionError):
            until(all_fired, 200, "")
    assert SLOW - fired == set()


def test_what_dies_is_told(watched: Watched) -> None:
    """The DAG files by a setting with a slip, the scheduler, the database, the store, the page of metrics: each by its own rule."""
    processes.stop(watched.settings, "dag-processor")
    environment = airflow.environment(watched.settings, None) | {"ESTUAIRE_NIGHTLY": "each night"}
    airflow.start(watched.settings, "dag-processor", environment)
    until(lambda: "DagImportError" in watched.firing(), 180, "DagImportError does not fire")
    processes.stop(watched.settings, "api-server")
    until(lambda: "AirflowDown" in watched.firing(), 90, "AirflowDown does not fire")
    postgres_server.stop(watched.settings)
    until(lambda: "DatabaseDown" in watched.firing(), 90, "DatabaseDown does not fire")
    watched.settings.store_path.rename(watched.settings.store_path.with_name("store-away"))
    try:
        until(lambda: {"StoreDown", "PartNotMeasured"} <= watched.firing(), 90, "StoreDown does not fire")
    finally:
        watched.settings.store_path.with_name("store-away").rename(watched.settings.store_path)
    processes.stop(watched.settings, exporter.NAME)
    until(lambda: "ExporterDown" in watched.firing(), 90, "ExporterDown does not fire")
