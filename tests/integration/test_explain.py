"""`estuaire explain` and `retry` on a real ledger, `logs` on real folders, and Ctrl-C while a chain is followed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from small_platform import SmallPlatform, dose
from typer.testing import CliRunner

from estuaire.base import settings as module
from estuaire.base.errors import AccountingImbalance, ErrorFields, FollowingStopped, NothingToRetry, UnknownName
from estuaire.base.run_names import CONSOLIDATE, INGEST, ledger_run_id
from estuaire.base.settings import Settings
from estuaire.cli import build
from estuaire.cli import explain as command
from estuaire.operations import pipeline_run
from estuaire.operations.retry import retry
from estuaire.runs.explain import Explanation, explain, resolve
from estuaire.runs.task_logs import task_logs
from estuaire.storage import ledger
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform

PATIENTS = ["77;16/03/1950;F;"]
STAYS = ["900;77;15/03/2025 08:00;HC"]


def full(platform: SmallPlatform, doses: list[str], delivery: str = "2025-10-full", **more: Any) -> None:
    platform.deliver(delivery, 1, kind="full", patient=PATIENTS, stay=STAYS, administration=doses, **more)


def end_runs(platform: SmallPlatform) -> None:
    """As the DAG's last step does; the small platform leaves its runs open."""
    platform.execute("update control.run set state = 'success', ended_at = clock_timestamp()")


def wrong_checksum(document: dict[str, Any]) -> None:
    document["files"][0]["sha256"] = "0" * 64


def printed(found: Explanation, capsys: pytest.CaptureFixture[str], *, french: bool = False) -> str:
    command._print(found, language="fr" if french else "en")
    return capsys.readouterr().out


def test_a_good_delivery_and_a_refused_one(platform: SmallPlatform, capsys: pytest.CaptureFixture[str]) -> None:
    full(platform, [dose("a"), dose("b")])
    platform.deliver("2025-11-delta", 2, change=wrong_checksum, administration=[dose("c")])
    platform.land()
    platform.consolidate()
    end_runs(platform)

    good = explain(platform, "h01/2025-10-full")
    assert (good.state, good.stopped) == ("landed", [])
    assert [(t["table"], t["rows"]) for t in good.tables] == [("patient", 1), ("stay", 1), ("administration", 2)]
    assert platform.ask("select stage from control.stage_run where noted_at is null") == []  # each noted that it got on
    stages = {s["stage"]: s for s in good.stages}
    assert list(stages) == ["land", "consolidate"]
    for stage in stages.values():
        parts = ("rows_out", "quarantined", "superseded", "unparseable")
        assert stage["rows_in"] == sum(stage[part] for part in parts) == 4
        assert stage["seconds"] > 0
        assert stage["cpu_seconds"] > 0
        assert stage["peak_memory_bytes"] > 0
    assert {g["stage"]: g["verdict"] for g in good.gates} == {"landed": "pass", "consolidated": "pass"}
    assert good.snapshots
    assert [s.kind for s in good.next] == ["query"]

    refused = explain(platform, "2025-11-delta")
    [stop] = refused.stopped
    assert (refused.state, stop.where, stop.code, stop.file) == (
        "blocked", "h01/2025-11-delta", "E_CHECKSUM", "administration.csv",
    )  # fmt: skip
    assert stop.remedy
    assert [(s.kind, s.command) for s in refused.next] == [("correct", "estuaire run")]
    text = printed(refused, capsys)
    for part in ("E_CHECKSUM", "What to do next", stop.remedy, "administration.csv"):
        assert part in text
    assert "Que faire ensuite" in printed(refused, capsys, french=True)
    assert "J01DD04" not in text

    # the bytes are at fault: nothing to retry, and why
    with pytest.raises(NothingToRetry, match=r"E_CHECKSUM.*hospital"):
        retry(platform.database, platform.store, "2025-11-delta")
    assert platform.state("2025-11-delta") == ("blocked", "E_CHECKSUM")
    with pytest.raises(NothingToRetry, match="has landed"):
        retry(platform.database, platform.store, "2025-10-full")
    # corrected bytes that no scan has seen yet may be retried
    platform.deliver("2025-11-delta", 2, administration=[dose("c")])
    assert retry(platform.database, platform.store, "2025-11-delta").put_back == [("h01", "2025-11-delta")]
    platform.land()
    assert platform.state("2025-11-delta") == ("landed", None)
    history = explain(platform, "2025-11-delta").gates
    assert sorted((g["stage"], g["verdict"]) for g in history) == [
        ("landed", "block"), ("landed", "pass"), ("refused", "block"),
    ]  # fmt: skip
    assert any(g["error_code"] == "E_CHECKSUM" for g in history if g["stage"] == "refused")


def block(platform: SmallPlatform, code: str = "E_REJECTED_RATE", delivery: str = "2025-11-delta") -> str:
    """A delivery that a run refused, without landing it for real; returns the run."""
    platform.deliver(delivery, 2, administration=[dose("c")])
    platform.discover()
    [(run_id,)] = platform.ask("select run_id from control.delivery where delivery_id = %s", delivery)
    platform.execute(
        "update control.delivery set state = 'blocked', error_code = %s, error_hospital = 'h01', error_delivery = %s, "
        "error_what = '3 of 9 records rejected', error_remedy = 'correct it' where delivery_id = %s",
        code,
        delivery,
        delivery,
    )
    return str(run_id)


def test_retry_puts_a_refused_delivery_back_and_keeps_the_refusal(platform: SmallPlatform) -> None:
    run_id = block(platform)
    end_runs(platform)
    assert [(s.kind, s.command) for s in explain(platform, run_id).next] == [
        ("retry", "estuaire retry h01/2025-11-delta")
    ]
    plan = retry(platform.database, platform.store, run_id)
    assert (plan.start, plan.put_back) == (INGEST, [("h01", "2025-11-delta")])
    assert platform.state("2025-11-delta") == ("received", None)
    assert platform.ask("select verdict, reasons from quality.verdict where stage = 'refused'") == [("block", "")]
    assert platform.errors("quality.verdict", "stage = 'refused'") == [
        ErrorFields("E_REJECTED_RATE", "3 of 9 records rejected", "correct it", "h01", "2025-11-delta")
    ]
    assert platform.discover().pending == [("h01", "2025-11-delta")]


def test_a_delivery_that_left_landing_is_not_put_back(platform: SmallPlatform) -> None:
    block(platform)
    for item in list(platform.store.list("landing/h01/2025-11-delta/")):
        platform.store.delete(item.key)
    with pytest.raises(NothingToRetry, match="no longer in landing"):
        retry(platform.database, platform.store, "2025-11-delta")
    assert platform.state("2025-11-delta")[0] == "blocked"


def test_retry_of_a_failed_run_starts_at_what_failed(platform: SmallPlatform) -> None:
    settings = platform.settings
    root = ledger_run_id(INGEST, "run-1")
    ledger.start_run(Database.of(settings), root, INGEST)
    ledger.end_run(Database.of(settings), root, "success", "1 deliveries landed, 0 blocked")
    ledger.start_run(Database.of(settings), "consolidate-x", CONSOLIDATE, root)
    ledger.end_run(
        Database.of(settings),
        "consolidate-x",
        "failed",
        error=AccountingImbalance("1 of 2", remedy="report it", table="stay").fields,
    )
    found = explain(Platform(settings))
    assert (found.name, found.state) == (root, "failed")
    assert [(s.code, s.what, s.remedy) for s in found.stopped] == [
        ("E_ACCOUNTING", "table stay: 1 of 2.", "report it.")
    ]
    assert [s.command for s in found.next] == ["estuaire logs consolidate-x", "estuaire retry consolidate-x"]
    for name in (root, "run-1", "consolidate-x", None):
        plan = retry(Database.of(settings), platform.store, name)
        assert (plan.start, plan.root) == (CONSOLIDATE, root)
    ledger.start_run(Database.of(settings), "consolidate-y", CONSOLIDATE, root)
    ledger.end_run(Database.of(settings), "consolidate-y", "success")
    assert explain(Platform(settings), root).state == "success"
    with pytest.raises(NothingToRetry, match="nothing of"):
        retry(Database.of(settings), platform.store, root)


def test_a_run_that_failed_only_by_refusals_asks_for_corrected_deliveries(platform: SmallPlatform) -> None:
    run_id = block(platform, "E_CHECKSUM")
    platform.execute("update control.run set dag_id = %s", INGEST)
    ledger.end_run(platform.database, run_id, "failed", "0 deliveries landed, 1 blocked")
    assert [s.kind for s in explain(platform, run_id).next] == ["correct", "logs"]
    with pytest.raises(NothingToRetry, match="E_CHECKSUM"):
        retry(platform.database, platform.store, run_id)


def test_an_unknown_name_lists_the_nearest(platform: SmallPlatform) -> None:
    with pytest.raises(UnknownName, match="there is no run yet"):
        resolve(platform.database, None)
    block(platform)
    with pytest.raises(UnknownName, match=r"E_UNKNOWN_NAME.*nearest names are h01/2025-11-delta"):
        explain(platform, "h01/2025-11-dleta")


def test_logs_of_a_run_are_found_on_disk(platform: SmallPlatform, tmp_path: Any) -> None:
    settings = Settings(_env_file=None, home=tmp_path)
    run = tmp_path / "logs" / "airflow" / f"dag_id={INGEST}" / "run_id=run-1"
    for task, level in (("land", "error"), ("discover", "info")):
        path = run / f"task_id={task}" / "attempt=1.log"
        path.parent.mkdir(parents=True)
        path.write_text(f'{{"level":"{level}","event":"x"}}\n', encoding="utf-8")
    logs = task_logs(settings, [ledger_run_id(INGEST, "run-1")])
    assert {(log.task, log.failed) for log in logs} == {("land", True), ("discover", False)}
    assert [log.task for log in task_logs(settings, [ledger_run_id(INGEST, "run-1")], "land")] == ["land"]
    assert task_logs(settings, ["another"]) == []


class FakeAirflow:
    """Airflow's client as far as following goes: one running ingest run, or none."""

    def __init__(self, running: bool) -> None:
        self.running, self.triggered = running, 0

    def __call__(self, _: Settings) -> FakeAirflow:
        return self

    def __enter__(self) -> FakeAirflow:
        return self

    def __exit__(self, *_: object) -> None: ...

    def dags(self) -> list[dict[str, str]]:
        return [{"dag_id": d} for d in pipeline_run.DAGS]

    def dag_runs(self, dag_id: str = "~", *, state: str = "running", since: str = "") -> list[dict[str, str]]:
        if not self.running or state != "running":
            return []
        return [{"dag_id": INGEST, "dag_run_id": "run-9", "run_after": datetime.now(UTC).isoformat(), "state": state}]

    def task_instances(self, *_: object) -> list[dict[str, str]]:
        return []

    def trigger(self, *_: object) -> None:
        self.triggered += 1
        self.running = True


@pytest.mark.parametrize("running", [True, False])
def test_ctrl_c_stops_only_the_display(platform: SmallPlatform, monkeypatch: pytest.MonkeyPatch, running: bool) -> None:
    airflow, said = FakeAirflow(running), []
    monkeypatch.setattr(pipeline_run, "AirflowClient", airflow)

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline_run.time, "sleep", interrupted)
    with pytest.raises(FollowingStopped, match=r"goes on in Airflow.*`estuaire run` attaches") as stopped:
        pipeline_run.follow(platform, said.append)
    assert stopped.value.exit_code == 130
    assert airflow.triggered == (0 if running else 1)  # a chain that runs is attached to, none is started
    assert any(("under way" if running else "started") in line for line in said)


def test_a_run_that_has_ended_in_the_ledger_is_not_attached_to(
    platform: SmallPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow closes a run a moment after its work: a delivery that came in between belongs to a new run."""
    airflow = FakeAirflow(True)
    monkeypatch.setattr(pipeline_run, "AirflowClient", airflow)
    ledger.start_run(platform.database, ledger_run_id(INGEST, "run-9"), INGEST)
    ledger.end_run(platform.database, ledger_run_id(INGEST, "run-9"), "nothing_new", "nothing new")

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline_run.time, "sleep", interrupted)
    with pytest.raises(FollowingStopped):
        pipeline_run.follow(platform, lambda _: None)
    assert airflow.triggered == 1


def test_records_that_were_set_aside_are_listed_by_line_and_rule_without_a_value(
    platform: SmallPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    doses = [dose(f"d{i}") for i in range(300)]
    doses[4] = doses[4].replace("16/03/2025", "31/02/2025")
    doses[9] = "too;short"
    full(platform, doses)
    platform.land()
    platform.consolidate()
    end_runs(platform)
    monkeypatch.setattr(module, "settings", lambda: platform.settings)
    shown = CliRunner().invoke(build(), ["rejected", "h01/2025-10-full", "--json"])
    found = json.loads(shown.output)
    assert [(r["file"], r["line_number"], r["disposition"], r["rule_ids"]) for r in found] == [
        ("administration.csv", 6, "quarantined", "administration.given_at.type"),
        ("administration.csv", 11, "unparseable", "administration.record.fields"),
    ]
    assert "31/02" not in shown.output
    table = CliRunner().invoke(build(), ["rejected", "h01", "--open"]).output
    assert "administration.given_at.type" in table
    assert "No record of h02" in CliRunner().invoke(build(), ["rejected", "h02"]).output
    told = explain(platform, "2025-10-full")
    assert [(s.kind, s.command) for s in told.next if s.kind == "rejected"] == [
        ("rejected", "estuaire rejected h01/2025-10-full")
    ]
    # a run's accounting holds what it set off, by whichever of its ids
    both = json.loads(CliRunner().invoke(build(), ["accounting", "--json"]).output)
    assert {r["stage"] for r in both} == {"land", "consolidate"}


def test_standard_codes_are_found_by_name() -> None:
    found = json.loads(CliRunner().invoke(build(), ["codes", "organism", "--search", "pneumoniae", "--json"]).output)
    assert "B_KLBSL_PNMN" in {r["code"] for r in found}
    assert all("pneumoniae" in r["names"] for r in found)
    assert len(json.loads(CliRunner().invoke(build(), ["codes", "organism", "--json"]).output)) > 2000
    assert len(json.loads(CliRunner().invoke(build(), ["codes", "--json"]).output)) > 20
    assert "follow a form" in CliRunner().invoke(build(), ["codes", "procedure"]).output


def test_the_commands_are_there() -> None:
    shown = CliRunner().invoke(build(), ["--help"]).output
    assert "explain" in shown
    assert "retry" in shown
