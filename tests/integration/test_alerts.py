"""Alerts: each condition begins, stays and ends, on a real ledger; what a check tells of it, once."""

from __future__ import annotations

import dataclasses
import itertools
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_platform import SmallPlatform, create_database, dose, registry_of
from typer.testing import CliRunner

from estuaire.base import progress
from estuaire.base import settings as module
from estuaire.base.errors import DiskFull, ErrorFields
from estuaire.base.settings import Settings
from estuaire.cli import build
from estuaire.operations.alerts import conditions, delivering
from estuaire.operations.alerts.conditions import Alert
from estuaire.report import files
from estuaire.storage import ledger

NOW = datetime.now(UTC)
_NUMBERS = itertools.count(1)
FULL = DiskFull("there is no space left to write", remedy="free space on that disk").fields


@pytest.fixture
def platform(migrated: Settings, tmp_path: Path) -> SmallPlatform:
    """An empty platform without Spark; home and store are folders of the test's own."""
    name = f"alerts_{next(_NUMBERS)}"
    create_database(migrated, name, "empty_platform")
    update = {
        "postgres_database": name, "store_root": tmp_path / "store", "alert_disk_free_gib": 0.0,
        "alert_webhook_url": "http://127.0.0.1:9/closed", "registry_dir": registry_of(tmp_path / "registry", "h01", "h02"),
    }  # fmt: skip
    return SmallPlatform(migrated.model_copy(update=update), None)


def with_(platform: SmallPlatform, **changes: Any) -> SmallPlatform:
    return SmallPlatform(platform.settings.model_copy(update=changes), None)


def found(platform: SmallPlatform, now: datetime | None = None, *kinds: str) -> list[Alert]:
    every, unknown = conditions.find(platform, now or datetime.now(UTC))
    assert unknown == set()
    return [f for f in every if not kinds or f.kind in kinds]


def subjects(platform: SmallPlatform, now: datetime | None = None) -> list[tuple[str, str]]:
    return [(f.kind, f.subject) for f in found(platform, now)]


def events(platform: SmallPlatform) -> list[tuple[str, str, str]]:
    """What the newest message tells: (event, kind, subject)."""
    [(content,)] = platform.ask("select content from control.alert_message order by message_id desc limit 1")
    return [(e["event"], e["kind"], e["subject"]) for e in content["events"]]


def ended_run(
    platform: SmallPlatform, run: str, state: str, said: str | ErrorFields | None = None, dag: str = "consolidate"
) -> None:
    ledger.start_run(platform.database, run, dag)
    message, error = (None, said) if isinstance(said, ErrorFields) else (said, None)
    ledger.end_run(platform.database, run, state, message, error)


# ------------------------------------------------------------------------------------------------ conditions


def test_nothing_needs_a_hand_on_an_empty_platform(platform: SmallPlatform) -> None:
    assert found(platform) == []


def test_a_failed_run_stands_until_one_of_its_dag_ends_well(platform: SmallPlatform) -> None:
    ended_run(platform, "consolidate-1", "failed", FULL)
    [one] = found(platform)
    assert (one.kind, one.subject, one.severity) == ("run_failed", "consolidate-1", "error")
    assert one.what.endswith("[E_DISK_FULL] there is no space left to write.")
    assert one.remedy == "free space on that disk"  # of the typed error in the ledger
    assert one.link.endswith("/estuaire/reports/latest.html")
    ended_run(platform, "ingest-1", "success", dag="ingest_deliveries")
    assert subjects(platform) == [("run_failed", "consolidate-1")]
    ended_run(platform, "consolidate-2", "success")
    assert found(platform) == []


def test_a_run_that_failed_without_a_typed_error_says_where_to_look(platform: SmallPlatform) -> None:
    ended_run(platform, "consolidate-1", "failed", "the Spark application ended without a word")
    assert "estuaire explain consolidate-1" in found(platform)[0].remedy
    assert "estuaire retry consolidate-1" in found(with_(platform, language="fr"))[0].remedy


def test_the_link_is_the_runs_own_report_below_the_given_address(platform: SmallPlatform) -> None:
    own = with_(platform, alert_page_url="https://hub.example/").settings
    assert conditions.link(own, "consolidate-7") == "https://hub.example/estuaire/reports/latest.html"
    (files.folder(own)).mkdir(parents=True, exist_ok=True)
    (files.folder(own) / "consolidate-7.html").write_text("x", encoding="utf-8")
    assert conditions.link(own, "consolidate-7") == "https://hub.example/estuaire/reports/consolidate-7.html"


def test_a_blocked_delivery_stands_until_its_correction_has_landed(platform: SmallPlatform) -> None:
    platform.deliver("d1", 1, change=lambda d: d.update(contract_version="99"), administration=[dose("1")])
    platform.discover()
    [one] = found(platform, None, "delivery_blocked")
    assert (one.subject, one.severity) == ("h01/d1", "warning")
    assert "E_CONTRACT_VERSION" in one.what
    assert one.remedy
    french = found(with_(platform, language="fr"), None, "delivery_blocked")[0]
    assert french.remedy == "Livrez selon la version indiquée en tête de ce guide."
    # an older delivery, one of another period and one of other tables do not correct it
    land = (
        "insert into control.delivery (hospital_id, delivery_id, sequence, content_hash, snapshot_id, state, period_from, period_to, "
        "manifest, received_at) values ('h01', %s, %s, 'x', 1, 'landed', %s, %s, %s, now() + %s::interval)"
    )
    platform.execute(
        "update control.delivery set period_from = '2025-01-01', period_to = '2025-02-01', manifest = %s",
        _files("stay"),
    )
    for name, of, until, table, later in (
        ("older", "2021-01-01", "2026-01-01", "stay", "-1 day"),
        ("february", "2025-02-01", "2025-03-01", "stay", "1 day"),
        ("patients", "2021-01-01", "2026-01-01", "patient", "1 day"),
    ):
        platform.execute(land, name, 5, of, until, _files(table), later)
        assert subjects(platform) == [("delivery_blocked", "h01/d1")], name
    platform.execute(land, "correction", 6, "2025-01-01", "2025-02-01", _files("stay"), "1 day")
    assert found(platform) == []


def _files(*tables: str) -> str:
    return json.dumps({"files": [{"table": t, "bytes": 2**30} for t in tables]})


def test_a_held_delivery_stands_until_it_is_landed(platform: SmallPlatform) -> None:
    platform.execute(
        "insert into control.delivery (hospital_id, delivery_id, state, error_code, error_what, error_remedy, sequence, content_hash, "
        "snapshot_id) values ('h01', 'full', 'held', 'E_FULL_HELD', 'would end records', 'confirm it', 1, 'x', 1)"
    )
    [one] = found(platform)
    assert (one.kind, one.subject, one.remedy) == ("delivery_held", "h01/full", "confirm it")
    platform.execute("update control.delivery set state = 'landed', error_code = null")
    assert found(platform) == []


def test_a_hospital_stands_where_a_gate_a_stage_a_release_or_its_entry_holds_it_back(
    platform: SmallPlatform, tmp_path: Path
) -> None:
    held = {
        "h01": {
            "refused": "x",
            "judged_with": "y",
            "serves": None,
            "of_release": None,
            "reasons": {"marts": ["some.rule"]},
        }
    }
    platform.execute(
        "insert into control.consolidation_block (hospital_id, input_hash, run_id, error_code, error_what, error_remedy) values "
        "('h02', 'x', 'r', 'E_GATE_BLOCKED', 'too few codes', 'map them')"
    )
    platform.execute(
        "insert into control.set_aside (hospital_id, stage, run_id, error_code, error_what, error_remedy) values "
        "('h01', 'load', 'r', 'E_LAKE_FILE', 'a file is lost', 'restore it')"
    )
    platform.execute(
        "insert into control.release (run_id, snapshot_id, code_version, built_at, state, input_hash, held_back) "
        "values ('r', 1, 'x', now(), 'published', 'x', %s)",
        json.dumps(held),
    )
    wrong = registry_of(tmp_path / "wrong", "h01", "h02")
    (wrong / "hospitals" / "h02.yml").write_text("id: h02\n", encoding="utf-8")
    every = {f.subject: f for f in found(with_(platform, registry_dir=wrong))}
    assert sorted(every) == ["h01 (load)", "h01 (publish)", "h02 (consolidated)", "h02 (registry)"]
    assert [every[s].remedy for s in ("h02 (consolidated)", "h01 (load)")] == ["map them", "restore it"]
    assert "some.rule" in every["h01 (publish)"].what
    for table in ("consolidation_block", "set_aside", "release"):
        platform.execute(f"delete from control.{table}")
    assert found(platform) == []


def test_a_hospital_is_late_by_its_rhythm_and_a_grace(platform: SmallPlatform, tmp_path: Path) -> None:
    document = yaml.safe_load((platform.settings.registry_dir / "hospitals" / "h01.yml").read_text(encoding="utf-8"))
    folder = registry_of(tmp_path / "rhythm", "h01", "h02")
    for name, change in (("h01", {"rhythm_days": 31}), ("h02", {"rhythm_days": None})):
        entry = {**document, **change, "id": name, "finess": f"98{name[1:]}00000"}
        (folder / "hospitals" / f"{name}.yml").write_text(
            yaml.safe_dump({k: v for k, v in entry.items() if v is not None}), encoding="utf-8"
        )
    own = with_(platform, registry_dir=folder, alert_late_grace_days=7.0)
    assert found(own, NOW + timedelta(days=400)) == []  # neither has ever delivered
    for hospital in ("h01", "h02"):
        platform.execute(
            "insert into control.delivery (hospital_id, delivery_id, state, received_at) values (%s, 'd', 'received', %s)",
            hospital, NOW,
        )  # fmt: skip
    assert found(own, NOW + timedelta(days=37.9)) == []
    [late] = found(own, NOW + timedelta(days=38.1))
    assert (late.kind, late.subject, late.since) == ("hospital_late", "h01", NOW + timedelta(days=31))
    assert document["contact"] in late.remedy
    platform.execute(
        "insert into control.delivery (hospital_id, delivery_id, state, received_at) values ('h01', 'e', 'received', %s)",
        NOW + timedelta(days=38),
    )
    assert found(own, NOW + timedelta(days=38.2)) == []


def test_a_run_stands_still_when_nothing_of_it_is_noted_however_alive_its_process_is(platform: SmallPlatform) -> None:
    own = with_(platform, alert_stalled_minutes=60.0)
    ledger.start_run(own.database, "ingest-1", "ingest_deliveries")
    stage = ledger.begin_stage(own.database, "ingest-1", "land")
    assert found(own, NOW + timedelta(minutes=59)) == []
    [one] = found(own, datetime.now(UTC) + timedelta(minutes=61))
    assert (one.kind, one.subject) == ("run_stalled", "ingest-1")
    assert "land" in one.what
    platform.execute("update control.run set started_at = started_at - interval '3 hours'")
    platform.execute("update control.stage_run set started_at = started_at - interval '2 hours'")
    assert subjects(own) == [("run_stalled", "ingest-1")]
    with progress.noted(stage):
        progress.made()
    assert found(own) == []
    # a run that another one has left behind is over
    platform.execute("update control.stage_run set noted_at = now() - interval '2 hours'")
    assert subjects(own) == [("run_stalled", "ingest-1")]
    ledger.start_run(own.database, "ingest-2", "ingest_deliveries")
    assert found(own) == []


def test_a_disk_that_fills_is_told_of_once_at_the_brink(
    platform: SmallPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    free = shutil.disk_usage(platform.settings.store_path.parent).free / 2**30
    tight = with_(platform, alert_disk_free_gib=free * 2)
    assert [f.kind for f in found(tight)] == ["disk_filling"]  # home and store are one disk
    brink = with_(platform, alert_disk_free_gib=free * 0.95)
    assert found(brink) == []
    known = frozenset({("disk_filling", "home")})
    assert [f.subject for f in conditions.filling_disks(brink, NOW, known)] == ["home"]
    assert conditions.filling_disks(with_(platform, alert_disk_free_gib=free * 0.5), NOW, known) == []


def test_a_store_and_a_database_are_told_of_above_what_was_planned(platform: SmallPlatform) -> None:
    platform.execute(
        "insert into control.delivery (hospital_id, delivery_id, state, manifest) values ('h01', 'd', 'received', %s)",
        _files("stay", "unit"),
    )
    assert [f.kind for f in found(with_(platform, alert_store_gib=1.9))] == ["store_filling"]
    assert found(with_(platform, alert_store_gib=2.1)) == []
    assert [f.kind for f in found(with_(platform, alert_database_gib=0.001))] == ["database_filling"]
    assert found(with_(platform, alert_database_gib=100.0)) == []


def test_an_old_release_is_told_of(platform: SmallPlatform) -> None:
    platform.execute(
        "insert into control.release (run_id, snapshot_id, code_version, built_at, published_at, state, input_hash) "
        "values ('r', 1, 'x', now(), now() - interval '46 days', 'published', 'x')"
    )
    assert [f.kind for f in found(platform)] == ["release_old"]
    assert found(with_(platform, alert_release_days=0.0)) == []
    assert found(with_(platform, alert_release_days=47.0)) == []


def test_what_cannot_be_looked_at_is_told_and_ends_nothing(platform: SmallPlatform, tmp_path: Path) -> None:
    delivering.check(with_(platform, alert_disk_free_gib=1e9))
    assert platform.ask("select kind from control.alert where resolved_at is null") == [("disk_filling",)]
    empty = tmp_path / "empty"
    (empty / "hospitals").mkdir(parents=True)
    platform.execute(
        "insert into control.consolidation_block (hospital_id, input_hash, run_id, error_what) values ('h02', 'x', 'r', 'e')"
    )
    delivering.check(platform)
    delivering.check(with_(platform, registry_dir=empty))
    standing = platform.ask("select kind, subject from control.alert where resolved_at is null order by 1, 2")
    assert standing == [
        ("check_failed", "blocked_hospitals"), ("check_failed", "late_hospitals"), ("hospital_blocked", "h02 (consolidated)"),
    ]  # fmt: skip


def test_names_from_outside_act_on_nothing(platform: SmallPlatform) -> None:
    platform.execute(
        "insert into control.delivery (hospital_id, delivery_id, state, error_code, error_what, error_remedy) values "
        "('h01', %s, 'blocked', 'E_ENTRY', 'no', 'x')",
        "d\x1b[2J\r\nBcc: all@example.org",
    )
    [one] = found(platform)
    assert one.subject == "h01/d\\x1b[2J\\r\\nBcc: all@example.org"
    french = found(with_(platform, language="fr"))[0]
    assert french.what.isprintable()


# ------------------------------------------------------------------------------------------------ what a check tells


def test_what_is_new_is_told_in_one_message_and_what_stays_again_after_a_time_and_its_end_once(
    platform: SmallPlatform,
) -> None:
    own = with_(platform, alert_repeat_hours=24.0, alert_give_up_hours=1000.0)
    ended_run(platform, "consolidate-1", "failed", FULL)
    ended_run(platform, "publish-1", "failed", FULL, dag="publish_marts")

    def check(after: float) -> delivering.Checked:
        return delivering.check(own, datetime.now(UTC) + timedelta(hours=after))

    first = check(0)
    assert (first.standing, first.new, first.resolved) == (2, 2, 0)
    assert [e[0] for e in events(platform)] == ["new", "new"]
    assert platform.ask("select count(*) from control.alert_message") == [(1,)]
    assert check(23.9).new == check(23.9).repeated == 0
    ended_run(platform, "publish-2", "success", dag="publish_marts")
    second = check(24.1)
    assert (second.standing, second.repeated, second.resolved) == (1, 1, 1)
    assert events(platform) == [("standing", "run_failed", "consolidate-1"), ("resolved", "run_failed", "publish-1")]
    ended_run(platform, "consolidate-2", "success")
    assert check(24.2).resolved == 1
    assert check(24.3).resolved == 0
    assert platform.ask("select count(*) from control.alert_message") == [(3,)]
    rows = platform.ask("select kind, subject, resolved_at is not null from control.alert order by subject")
    assert rows == [("run_failed", "consolidate-1", True), ("run_failed", "publish-1", True)]


def test_a_condition_that_comes_back_is_new(platform: SmallPlatform) -> None:
    for _ in range(2):
        platform.execute(
            "insert into control.consolidation_block (hospital_id, input_hash, run_id, error_what) values ('h02', 'x', 'r', 'e')"
        )
        assert delivering.check(platform).new == 1
        platform.execute("delete from control.consolidation_block")
        assert delivering.check(platform).resolved == 1
    assert platform.ask("select count(*) from control.alert") == [(2,)]


def test_nobody_is_told_where_no_channel_is_set_and_all_that_stands_once_one_is(platform: SmallPlatform) -> None:
    ended_run(platform, "consolidate-1", "failed", FULL)
    off = with_(platform, alert_webhook_url="")
    assert delivering.check(off).standing == 1
    assert platform.ask("select count(*) from control.alert_message") == [(0,)]
    delivering.check(platform)
    assert events(platform) == [("new", "run_failed", "consolidate-1")]


def test_two_checks_at_once_tell_once(platform: SmallPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    ended_run(platform, "consolidate-1", "failed", FULL)
    looking, find = threading.Barrier(2, timeout=30), conditions.find

    def slow(*arguments: Any) -> Any:
        looking.wait()  # both are at it; the second never comes here while the first is
        return find(*arguments)

    monkeypatch.setattr(conditions, "find", slow)
    first = threading.Thread(target=delivering.check, args=(platform,))
    first.start()
    while looking.n_waiting == 0:
        threading.Event().wait(0.01)
    second = delivering.check(platform)
    assert (second.standing, second.new) == (0, 0)
    looking.wait()
    first.join()
    assert platform.ask("select count(*) from control.alert_message") == [(1,)]


# ------------------------------------------------------------------------------------------------ the command


@pytest.fixture
def command(platform: SmallPlatform, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(module, "settings", lambda: platform.settings)
    return lambda *arguments: CliRunner().invoke(build(), ["alerts", *arguments], catch_exceptions=False)


def test_the_command_shows_what_stands_and_what_to_do(platform: SmallPlatform, command: Any) -> None:
    assert "Nothing needs a hand" in command().output
    ended_run(platform, "consolidate-1", "failed", dataclasses.replace(FULL, what=FULL.what + "\x1b[2J"))
    text = command().output
    for part in ("a run failed", "consolidate-1", "free space on that disk", "/estuaire/reports/latest.html"):
        assert part in text
    assert "\x1b" not in text
    assert platform.ask("select count(*) from control.alert") == [(0,)]  # a look writes nothing
    told = json.loads(command("--check", "--json").output)
    assert (told["checked"]["new"], told["channels"]) == (1, {"webhook": 1})
    assert [(a["kind"], a["subject"]) for a in told["standing"]] == [("run_failed", "consolidate-1")]
    [message] = told["undelivered"]
    assert (message["state"], message["channel"], message["tries"]) == ("waiting", "webhook", 1)
    assert "Messages that could not be delivered" in command().output
