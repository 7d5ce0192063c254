"""The page of metrics against a real PostgreSQL: each value counted anew, who may read it, what happens where a part is broken."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import psycopg2
import pytest
from calm_stages import Pair, pair, without_engines
from measured import of, parsed, recounted
from small_platform import SmallPlatform, create_database, dose

from estuaire.base.errors import SecretUnusable, SetupError
from estuaire.base.settings import Settings
from estuaire.contract.registry import load_registry
from estuaire.operations.alerts import delivering
from estuaire.operations.metrics import server
from estuaire.operations.metrics.look import transaction
from estuaire.stack.exporter import TOKEN
from estuaire.storage import ledger
from estuaire.storage.platform import Platform

__all__ = ["pair", "without_engines"]


@dataclass
class Page:
    """The page of metrics, served."""

    url: str
    token: str

    def get(self, path: str = "/metrics", token: str | None = None, **more: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"} | more.pop("headers", {})
        return httpx2.request(
            more.pop("method", "GET"), f"{self.url}{path}", headers=headers, trust_env=False, timeout=30
        )

    def samples(self) -> Any:
        answer = self.get()
        assert answer.status_code == 200
        return parsed(answer.text)


@contextmanager
def page_of(settings: Settings, patience: float = server.PATIENCE) -> Iterator[Page]:
    settings.ensure_secret(TOKEN, 32)
    served = server.build(Platform(settings), host="127.0.0.1", port=0, patience=patience)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    try:
        yield Page(f"http://127.0.0.1:{served.server_port}", settings.secret(TOKEN))
    finally:
        served.shutdown()
        served.server_close()


@pytest.fixture(scope="module")
def platform(pair: Pair) -> SmallPlatform:
    """Two hospitals, two deliveries each, published; a third delivery blocked, one of an unknown hospital; a failed run and one under way;
    verdicts, rejected records and alerts."""
    for _ in range(2):
        pair.deliver()
        for stage in ("land", "consolidate", "load", "publish"):
            pair.run(stage)
    made = SmallPlatform(
        pair.tried.settings.model_copy(update={"alert_webhook_url": "http://127.0.0.1:9/closed"}), None
    )
    made.deliver(
        "d3", 3, administration=["broken;record", dose("C3")], change=lambda m: m["files"][0].update(sha256="0" * 64)
    )
    made.store.put_bytes("landing/Secret_Name/d1/manifest.json", b"{}")
    pair.run("land", made)
    made.execute(
        "insert into quality.verdict select run_id, 'landed', 'h01', 'd1', 'warn', 'DUPONT' from control.run "
        "order by started_at limit 1; "
        "insert into quality.verdict select run_id, 'landed', 'h01', 'd1', 'pass' from control.run order by started_at desc limit 1; "
        "insert into quality.result (run_id, stage, hospital_id, delivery_id, table_name, rule_id, rule_version, category, severity, "
        "action, status, rows_checked, rows_failed) select v.run_id, 'landed', 'h01', 'd1', 'stay', 'r' || n, 1, 'x', 'error', 'warn', "
        "(array['pass', 'error'])[n], 1, 0 from quality.verdict v, generate_series(1, 2) n where verdict in ('pass', 'warn') "
        "and stage = 'landed' and delivery_id = 'd1' and hospital_id = 'h01'"
    )
    made.execute(
        "insert into control.rejected_record (hospital_id, delivery_id, table_name, file, record_number, line_number, byte_offset, "
        "byte_length, row_uid_hi, row_uid_lo, disposition, rule_ids, columns, sequence, state, run_id) select 'h0' || 1 + mod(n, 2), 'd1', "
        "'stay', 'stay.csv', n, n, 0, 1, n, n, 'quarantined', 'r1', 'c', 1, (array['open', 'abandoned'])[1 + mod(n, 3) / 2], 'run-1' "
        "from generate_series(1, 10) n"
    )
    ledger.start_run(made.database, "consolidate-9", "consolidate")
    ledger.end_run(made.database, "consolidate-9", "failed", "a patient named DUPONT")
    ledger.start_run(made.database, "publish-9", "publish_marts")
    made.execute("update control.delivery set received_at = now() - interval '60 days' where hospital_id = 'h02'")
    delivering.check(made)
    return made


@pytest.fixture(scope="module")
def page(platform: SmallPlatform) -> Iterator[Page]:
    with page_of(platform.settings) as served:
        yield served


# ------------------------------------------------------------------------------------------------ what it says


def test_every_value_is_what_was_counted_anew(page: Page, platform: SmallPlatform) -> None:
    samples = page.samples()
    expected = recounted(platform)
    assert len(expected) > 20
    assert {name for name, values in expected.items() if not values} == set()
    for name, values in expected.items():
        assert of(samples, name) == pytest.approx(values), name


def test_what_needs_a_hand_is_what_the_alerts_say(page: Page, platform: SmallPlatform) -> None:
    samples = page.samples()
    assert of(samples, "estuaire_deliveries_unresolved") == {("h01", "blocked"): 1, ("unknown", "blocked"): 1}
    standing = of(samples, "estuaire_alerts_standing")
    assert standing["delivery_blocked", "warning"] == 2
    assert of(samples, "estuaire_runs_failed_standing")["consolidate",] == 1
    assert of(samples, "estuaire_runs_failed_standing")["tests",] == 0
    rhythm = {h.id: h.rhythm_days for h in load_registry(platform.settings.registry_dir).hospitals.values()}
    received = of(samples, "estuaire_delivery_last_received_timestamp_seconds")
    due = of(samples, "estuaire_hospital_due_timestamp_seconds")
    assert due == {(h,): received[h,] + days * 86400 for h, days in rhythm.items() if days}
    late = {h for (h,), value in of(samples, "estuaire_hospital_late").items() if value}
    assert (
        late == {s for [s] in platform.ask("select subject from control.alert where kind = 'hospital_late'")} == {"h02"}
    )


def test_a_run_under_way_shows_when_it_last_got_on(page: Page, platform: SmallPlatform) -> None:
    [(began,)] = platform.ask("select started_at from control.run where run_id = 'publish-9'")
    samples = page.samples()
    assert of(samples, "estuaire_run_last_progress_timestamp_seconds")["publish_marts",] == pytest.approx(
        began.timestamp()
    )
    assert of(samples, "estuaire_run_started_timestamp_seconds")["publish_marts",] == pytest.approx(began.timestamp())


def test_limits_are_the_settings(platform: SmallPlatform) -> None:
    update = {
        "alert_store_gib": 2.0, "alert_database_gib": 3.0, "alert_release_days": 4.0, "alert_stalled_minutes": 5.0,
        "alert_disk_free_gib": 6.0, "metrics_stage_memory": "7g",
    }  # fmt: skip
    with page_of(platform.settings.model_copy(update=update)) as own:
        samples = own.samples()
    gib = 2**30
    limits = {
        "estuaire_store_wanted_bytes": 2 * gib, "estuaire_database_wanted_bytes": 3 * gib,
        "estuaire_release_wanted_seconds": 4 * 86400, "estuaire_run_stalled_after_seconds": 300,
        "estuaire_disk_wanted_bytes": 6 * gib, "estuaire_stage_memory_limit_bytes": 7 * gib,
    }  # fmt: skip
    assert {name: of(samples, name)[()] for name in limits} == limits


def test_what_is_outside_the_ledger_is_measured(page: Page, platform: SmallPlatform) -> None:
    samples = page.samples()
    assert of(samples, "estuaire_database_up") == of(samples, "estuaire_store_up") == {(): 1}
    assert of(samples, "estuaire_airflow_up") == {(): 0}  # none runs here
    assert of(samples, "estuaire_disk_free_bytes")["home",] > 1 << 20
    assert (
        0 < of(samples, "estuaire_database_connections")[()] <= of(samples, "estuaire_database_connections_limit")[()]
    )
    [(size,)] = platform.ask("select pg_database_size(current_database())")
    assert of(samples, "estuaire_database_bytes")[()] == pytest.approx(size, rel=0.01)
    assert {part for (part,), bad in of(samples, "estuaire_scrape_error").items() if bad} == set()
    landing = [
        f["bytes"]
        for (m,) in platform.ask("select manifest from control.delivery where manifest is not null")
        for f in m["files"]
    ]
    assert of(samples, "estuaire_landing_bytes")[()] == sum(landing)


def test_no_label_is_a_name_of_a_delivery_or_a_text(page: Page) -> None:
    text = page.get().text
    for word in ("Secret_Name", "DUPONT", "d3", "sha256", "run-1", "consolidate-9"):
        assert word not in re.findall(r'"([^"]*)"', text), word
        if len(word) > 3:
            assert word not in text


# ------------------------------------------------------------------------------------------------ who may read it


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/favicon.ico", "/metrics?name[]=estuaire_records"])
def test_without_the_token_nothing_is_told(page: Page, path: str) -> None:
    for headers in ({}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": f"Basic {page.token}"}):
        answer = httpx2.get(f"{page.url}{path}", headers=headers, trust_env=False, timeout=30)
        assert answer.status_code == 401
        assert "estuaire_" not in answer.text
    assert page.get(path, token="x" * 64).status_code == 401
    assert page.get(path, token=page.token[:-1]).status_code == 401


def test_nothing_is_written_by_a_request(page: Page) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert page.get(method=method).status_code == 405


def test_without_a_token_there_is_no_page(platform: SmallPlatform, tmp_path: Path) -> None:
    with pytest.raises(SecretUnusable, match=TOKEN):
        server.build(platform.but(secrets_dir=tmp_path), port=0)


def test_a_port_that_is_taken_is_said(platform: SmallPlatform, page: Page) -> None:
    with pytest.raises(SetupError, match="ESTUAIRE_METRICS_PORT"):
        server.build(platform, port=int(page.url.rsplit(":", 1)[1]))


# ------------------------------------------------------------------------------------------------ what is broken


def _broken(samples: Any) -> set[str]:
    return {part for (part,), bad in of(samples, "estuaire_scrape_error").items() if bad}


def test_a_part_that_cannot_be_measured_leaves_the_others(page: Page, platform: SmallPlatform) -> None:
    before = {name for name, _ in page.samples()}
    platform.execute("alter table control.release rename to release_away")
    try:
        samples = page.samples()
    finally:
        platform.execute("alter table control.release_away rename to release")
    assert _broken(samples) == {"release", "hospitals"}
    assert of(samples, "estuaire_records") != {}
    assert {name for name, _ in samples} < before
    assert _broken(page.samples()) == set()


def test_a_statement_that_hangs_is_ended(platform: SmallPlatform) -> None:
    holder = psycopg2.connect(platform.database.dsn())
    with holder.cursor() as cursor:
        cursor.execute("lock table quality.verdict in access exclusive mode")
    try:
        with page_of(platform.settings, patience=0.5) as own:
            samples = own.samples()  # comes back while the lock is held
    finally:
        holder.close()
    assert _broken(samples) == {"quality"}


def test_without_postgresql_the_page_says_so(platform: SmallPlatform, free_port: Callable[[], int]) -> None:
    away = platform.settings.model_copy(
        update={"postgres_host": "127.0.0.1", "postgres_port": free_port(), "postgres_sslmode": "disable"}
    )
    with page_of(away) as own:
        samples = own.samples()
    assert of(samples, "estuaire_database_up") == {(): 0}
    assert {"records", "runs", "lake"} <= _broken(samples)
    assert of(samples, "estuaire_disk_free_bytes") != {}


def test_a_registry_that_cannot_be_read_is_a_part(platform: SmallPlatform, tmp_path: Path) -> None:
    with page_of(platform.settings.model_copy(update={"registry_dir": tmp_path / "nowhere"})) as own:
        samples = own.samples()
    assert of(samples, "estuaire_database_up") == {(): 1}
    assert {h for h, _ in of(samples, "estuaire_deliveries")} == {"unknown"}


@pytest.mark.parametrize(("status", "up"), [(403, 1), (503, 0)])
def test_a_store_answers_or_not(platform: SmallPlatform, status: int, up: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        def log_message(self, *_: Any) -> None:
            pass

    store = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=store.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{store.server_address[1]}"
    with page_of(platform.settings.model_copy(update={"store": "s3", "s3_endpoint": endpoint})) as own:
        assert of(own.samples(), "estuaire_store_up") == {(): up}
        store.shutdown()
        store.server_close()
        assert of(own.samples(), "estuaire_store_up") == {(): 0}


def test_the_transaction_writes_nothing(platform: SmallPlatform) -> None:
    refused = pytest.raises(psycopg2.errors.ReadOnlySqlTransaction)
    with transaction(platform.database, 3) as connection, connection.cursor() as cursor, refused:
        cursor.execute("delete from control.alert")


# ------------------------------------------------------------------------------------------------ at full size


def test_what_is_kept_between_scrapes_changes_with_the_stages(page: Page, platform: SmallPlatform, pair: Pair) -> None:
    before = of(page.samples(), "estuaire_records")
    pair.deliver()
    pair.run("land")
    after = of(page.samples(), "estuaire_records")
    assert after["out", "land", "administration"] == before["out", "land", "administration"] + 4
    assert after == recounted(platform)["estuaire_records"]


def test_a_large_ledger_is_told_whole_within_the_page_s_patience(migrated: Settings, tmp_path: Path) -> None:
    """A hundred hospitals, five years: 6,000 deliveries, 2 million rejected records, 400,000 accounts, 60,000 results."""
    create_database(migrated, "many_rows", "empty_platform")
    settings = migrated.model_copy(update={"postgres_database": "many_rows", "store_root": tmp_path})
    platform = SmallPlatform(settings, None)
    platform.execute(_MANY)
    platform.execute("analyze")
    with page_of(settings) as own:
        began = time.monotonic()
        first = own.samples()
        print(f"\nthe first scrape took {time.monotonic() - began:.2f} s")
        assert _broken(first) == set()
        began = time.monotonic()
        samples = own.samples()
        print(f"a later one took {time.monotonic() - began:.2f} s")
    assert _broken(samples) == set()
    assert sum(of(samples, "estuaire_rejected_records").values()) == 2_000_000


_MANY = """
insert into control.run (run_id, dag_id, state, started_at, ended_at)
select 'r' || n, (array['ingest_deliveries', 'consolidate', 'publish_marts'])[1 + mod(n, 3)], 'success',
    now() - n * interval '1 hour', now() - n * interval '1 hour' from generate_series(1, 6000) n;
insert into control.stage_run (run_id, stage, token, state, started_at, ended_at, seconds, cpu_seconds, peak_memory_bytes, rows)
select 'r' || n, (array['land', 'consolidate', 'load'])[1 + mod(n, 3)], 10000 - n, 'committed', now() - n * interval '1 hour',
    now() - n * interval '1 hour', 60, 90, 1e9, 1000 from generate_series(1, 6000) n;
insert into control.delivery (hospital_id, delivery_id, sequence, kind, period_from, period_to, content_hash, manifest, state, snapshot_id,
    received_at)
select 'h' || lpad(mod(n, 100)::text, 2, '0'), 'd' || n / 100, n / 100, 'delta', '2021-01-01', '2026-01-01', 'x',
    jsonb_build_object('files', (select jsonb_agg(jsonb_build_object('table', 't' || t, 'bytes', 1000)) from generate_series(1, 8) t)),
    'landed', 1, now() - (60 - n / 100) * interval '30 days' from generate_series(0, 5999) n;
update control.delivery set state = 'blocked', error_code = 'E_GATE' where mod(sequence, 20) = 7;
insert into control.rejected_record (hospital_id, delivery_id, table_name, file, record_number, line_number, byte_offset, byte_length,
    row_uid_hi, row_uid_lo, disposition, rule_ids, columns, sequence, run_id)
select 'h' || lpad(mod(n, 100)::text, 2, '0'), 'd' || mod(n, 60), 'stay', 'stay.csv', n, n, 0, 1, n, n, 'quarantined', 'r', 'c', 1, 'r1'
from generate_series(1, 2000000) n;
insert into control.accounting (run_id, stage, token, hospital_id, delivery_id, table_name, rows_in, rows_out, rows_quarantined,
    rows_superseded, rows_unparseable, hash_in, hash_out, hash_quarantined, hash_superseded, hash_unparseable)
select s.run_id, s.stage, s.token, 'h' || lpad(mod(n, 100)::text, 2, '0'), 'd' || mod(n, 60), 't' || mod(n, 8), 10, 10, 0, 0, 0, 1, 1, 0, 0, 0
from control.stage_run s, generate_series(1, 67) n on conflict do nothing;
insert into quality.verdict select 'r' || n, 'landed', 'h' || lpad(mod(n, 100)::text, 2, '0'), 'd' || mod(n, 60), 'pass'
from generate_series(1, 6000) n;
insert into quality.result (run_id, stage, hospital_id, delivery_id, table_name, rule_id, rule_version, category, severity, action, status,
    rows_checked, rows_failed)
select 'r' || 1 + n / 10, 'landed', '*', '*', 't', 'rule' || mod(n, 10), 1, 'x', 'error', 'warn', 'pass', 1, 0 from generate_series(1, 59000) n;
"""
