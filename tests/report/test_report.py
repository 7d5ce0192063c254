"""The run report, from a ledger and marts written by hand: what it says, in both languages, and what it never does."""

from __future__ import annotations

import json
import re
import stat
from collections import Counter
from typing import Any

import pytest
import report_world
import structlog
from psycopg2.extensions import cursor
from report_pages import HOSPITALS, built, read
from typer.testing import CliRunner

from estuaire.base.errors import UnknownName
from estuaire.base.settings import Settings
from estuaire.contract.registry import load_registry
from estuaire.orchestration import tasks
from estuaire.report import charts, data, files, marts, planted, texts
from estuaire.storage.lake import Lake
from estuaire.storage.platform import Platform


def test_a_whole_run_in_one_page(settings: Settings, owner: cursor) -> None:
    report_world.ledger(owner, HOSPITALS, blocked="h07")
    report_world.released(owner, HOSPITALS)
    path = files.build(Platform(settings))
    assert path == settings.root / "reports" / f"{report_world.ROOT}.html"
    assert path.stat().st_size < 3_000_000
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    html = path.read_text(encoding="utf-8")
    assert (path.parent / files.LATEST).read_text(encoding="utf-8") == html
    page = read(html)
    # nothing is loaded from elsewhere, and the page says so to the browser
    assert all(a.startswith("#") for a in page.addresses), page.addresses
    assert {a[1:] for a in page.addresses} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert "default-src 'none'" in html
    assert not re.search(r"url\(|@import|https?://", html.replace("http://www.w3.org", ""))
    # both languages say as much
    assert "Blocage partiel" in page.told["fr"]
    assert "Partly blocked" in page.told["en"]
    assert abs(len(page.told["fr"]) - len(page.told["en"])) < 5
    assert len(page.told["fr"]) > 300
    assert "CANARY" not in html
    # what happened, and what to do
    said = " ".join(page.told["en"])
    assert "73 deliveries of 37 hospitals were landed" in said
    assert "1 delivery or stage is blocked" in said
    assert "This run published release 12" in said
    assert "Deliver the file again" in said
    assert "73 livraisons de 37 hôpitaux ont été intégrées" in " ".join(page.told["fr"])
    assert "not in the served release" not in said


def test_verdicts_rules_quarantine_and_accounts_are_the_ledgers(settings: Settings, owner: cursor) -> None:
    report_world.ledger(owner, HOSPITALS[:4], blocked="h02")
    found = data.read(Platform(settings))
    assert (found.state, found.run_id, found.release) == ("blocked", report_world.ROOT, None)
    assert list(found.hospitals) == HOSPITALS[:4]
    assert found.verdicts["h02", "landed"].verdict == "block"
    assert ("h01", "marts") not in found.verdicts
    assert found.verdicts["*", "marts"].verdict == "pass"
    owner.execute("select count(*), count(*) filter (where state = 'open') from control.rejected_record")
    assert (sum(q.records for q in found.quarantined), sum(q.still_open for q in found.quarantined)) == owner.fetchone()
    owner.execute("select sum(rows_in), sum(rows_out), sum(rows_quarantined) from control.accounting")
    [balance] = found.balances
    assert (balance.rows_in, balance.rows_out, balance.quarantined) == owner.fetchone()
    assert balance.balanced
    [dose] = [r for r in found.rules if r.rule_id == "administration.dose.with_unit"]
    owner.execute("select sum(rows_failed), sum(rows_checked) from quality.result where rule_id = %s", (dose.rule_id,))
    assert (dose.rows_failed, dose.rows_checked) == owner.fetchone()
    assert dose.label == texts.Text("Une dose porte son unité", "A dose carries its unit")
    assert dose.threshold == 0.01
    order = [r.outcome for r in found.rules]
    assert order == sorted(order, key=("error", "block", "warn", "quarantine", "info", "pass").index)
    assert [s.stage for s in found.stages] == ["land", "consolidate", "load", "publish"]
    assert found.stages[0].gate_seconds is None
    assert found.todo[0].where == "h02/2025-12-delta"


@pytest.mark.parametrize(
    ("decided", "action", "status", "outcome"),
    [
        (None, "warn", "fail", "info"),  # broken, and no gate decided anything on it: severity info, too few rows
        (None, "quarantine", "fail", "quarantine"),
        ("warn", "warn", "fail", "warn"),
        ("warn", "fail", "fail", "warn"),  # by one hospital alone, or of too few rows to block
        ("block", "warn", "fail", "block"),  # a share above what blocks
        ("block", "fail", "fail", "block"),
        ("block", "warn", "error", "error"),
        (None, "fail", "pass", "pass"),
        (None, "fail", "not_applicable", "not_applicable"),
    ],
)
def test_a_rules_outcome_is_what_the_gate_decided(
    settings: Settings, owner: cursor, decided: str | None, action: str, status: str, outcome: str
) -> None:
    report_world.ledger(owner, HOSPITALS[:1])
    rule = "administration.dose.with_unit"
    failed = 0 if status in ("pass", "not_applicable") else 9
    owner.execute(
        "update quality.result set status = %s, action = %s, rows_failed = %s, decided = null where rule_id = %s",
        (status, action, failed, rule),
    )
    owner.execute(
        "update quality.result set decided = %s where rule_id = %s and delivery_id = '2025-10-full'", (decided, rule)
    )
    assert [r.outcome for r in data.read(Platform(settings)).rules if r.rule_id == rule] == [outcome]


def test_every_check_of_the_kernel_has_a_label() -> None:
    labels = data.rule_labels()
    assert labels["administration.given_at.type"].en.endswith("a value that is not of its type")
    from estuaire.contract.tables import load_contract
    from estuaire.kernel.framing import REASONS
    from estuaire.kernel.typing_sql import block_query

    registry = load_registry()
    checked = 0
    for table in load_contract().tables:
        for hospital in registry.hospitals.values():
            dialect = hospital.dialects[hospital.table_dialect[table.name]]
            query = block_query(table, frozenset(c.name for c in table.columns), dialect, ())
            for check in query.checks:
                if check.action == "quarantine":
                    assert check.id in labels, check.id
                    checked += 1
        assert all(f"{table.name}.record.{reason}" in labels for reason in REASONS)
    assert checked > 100


def test_a_blocked_hospital_stays_blocked_whatever_else_passed(settings: Settings, owner: cursor) -> None:
    report_world.ledger(owner, HOSPITALS[:2])
    owner.execute("update quality.verdict set verdict = 'pass'")
    assert data.read(Platform(settings)).state == "success"
    owner.execute(
        "update quality.verdict set verdict = 'warn' where delivery_id = '2025-10-full' and hospital_id = 'h01'"
    )
    assert data.read(Platform(settings)).state == "warned"
    owner.execute(
        "update quality.verdict set verdict = 'block' where delivery_id = '2025-12-delta' and hospital_id = 'h01'"
    )
    found = data.read(Platform(settings))
    assert (found.state, found.verdicts["h01", "landed"].verdict) == ("blocked", "block")


def test_before_the_first_release_every_panel_says_so(settings: Settings, owner: cursor) -> None:
    report_world.ledger(owner, HOSPITALS[:3], state="failed")
    html = built(settings)
    assert html.count(texts.text("panel_missing").en) == 4
    page = read(html)
    assert "Failed" in page.told["en"]
    assert "No release is published yet." in " ".join(page.told["en"])
    assert any("1 dbt nodes failed" in t for t in page.told[""])


def test_a_failed_run_shows_the_release_that_stays_served(settings: Settings, owner: cursor) -> None:
    report_world.ledger(owner, HOSPITALS[:3], state="failed")
    report_world.released(owner, HOSPITALS[:3], number=11, run="an-earlier-run")
    said = " ".join(read(built(settings)).told["en"])
    assert "Analysts read release 11" in said
    assert texts.text("marts_stale").en in said


@pytest.mark.parametrize(
    "mart", ["cumulative_antibiogram", "antibiotic_consumption", "exposure_resistance", "coverage"]
)
def test_one_mart_missing_or_of_another_form(settings: Settings, owner: cursor, mart: str) -> None:
    report_world.ledger(owner, HOSPITALS[:3])
    report_world.released(owner, HOSPITALS[:3])
    owner.execute(f"alter table marts.{mart} rename column release_id to number")
    assert texts.text("panel_missing").en not in built(settings)
    owner.execute(f"truncate marts.{mart}")
    assert built(settings).count(texts.text("panel_missing").en) == 1
    column = {"coverage": "status", "exposure_resistance": "odds_ratio"}.get(mart, "hospital_id")
    owner.execute(f"alter table marts.{mart} rename column {column} to other")
    assert built(settings).count(texts.text("panel_missing").en) == 1
    owner.execute(f"revoke all on marts.{mart} from analyst")
    assert built(settings).count(texts.text("panel_missing").en) == 1
    owner.execute(f"drop table marts.{mart}")
    assert built(settings).count(texts.text("panel_missing").en) == 1


def test_the_antibiogram_greys_what_has_fewer_than_30(settings: Settings, owner: cursor) -> None:
    report_world.released(owner, HOSPITALS[:3])
    found = marts.read(Platform(settings)).antibiogram
    assert found is not None
    assert found.latest == 2025
    owner.execute(
        "select species, agent_code, tested, resistant from marts.cumulative_antibiogram where hospital_id = 'group' and year = 2025"
    )
    for species, agent, tested, resistant in owner.fetchall():
        cell = found.periods[2025][species, agent]
        assert (cell.tested, cell.resistant) == (tested, resistant)
        assert (cell.share is None) == (tested < 30)
    owner.execute(
        "select species, agent_code, sum(tested), sum(resistant) from marts.cumulative_antibiogram "
        "where hospital_id = 'group' group by 1, 2"
    )
    assert {(s, a): (n, r) for s, a, n, r in owner.fetchall()} == {
        place: (c.tested, c.resistant) for place, c in found.periods[0].items()
    }


def test_a_class_that_nobody_got_in_a_month_is_zero_and_an_uncovered_month_is_nothing(
    settings: Settings, owner: cursor
) -> None:
    report_world.released(owner, HOSPITALS[:3])
    owner.execute("delete from marts.antibiotic_consumption where item = 'Reserve' and month = '2025-03-01'")
    owner.execute(
        "update marts.antibiotic_consumption set ddd_per_1000_patient_days = null, covered = false "
        "where hospital_id = 'group' and month = '2025-04-01'"
    )
    found = marts.read(Platform(settings)).consumption
    assert found is not None
    march = next(i for i, m in enumerate(found.months) if (m.year, m.month) == (2025, 3))
    assert found.classes["Reserve"][march] == 0.0
    assert found.classes["Reserve"][march + 1] is None
    assert found.total[march + 1] is None


def test_coverage_judges_only_months_with_enough_records(settings: Settings, owner: cursor) -> None:
    report_world.released(owner, HOSPITALS[:2])
    owner.execute("update marts.coverage set status = 'ok'")
    cells = (
        ("2024-11-01", "low", 99.9, 0.1, 1), ("2024-12-01", "zero", 40.0, 0.1, 0.5), ("2025-01-01", "zero", 40.0, None, 1),
        ("2025-02-01", "zero", 40.0, 0.26, 1), ("2025-03-01", "zero", 19.9, 0.1, 1), ("2025-04-01", "zero", 20.0, 0.25, 1),
    )  # fmt: skip
    for month, *expected in cells:
        owner.execute(
            "update marts.coverage set status = %s, expected_median = %s, expected_spread = %s, month_share = %s "
            "where hospital_id = 'h01' and month = %s and table_name = 'stay'",
            (*expected, month),
        )
    found = marts.read(Platform(settings)).coverage
    assert found is not None
    assert [(h, m.month, table, status) for h, m, table, status, *_ in found.findings] == [("h01", 4, "stay", "zero")]
    assert found.status["h01", found.months[-10]] == "ok"
    assert found.status["h01", found.months[-9]] == "zero"


def test_a_chart_of_which_no_month_can_be_judged_says_so(settings: Settings, owner: cursor) -> None:
    """It was grey everywhere, above "every month is within the volumes expected"."""
    report_world.ledger(owner, HOSPITALS[:3])
    report_world.released(owner, HOSPITALS[:3])
    owner.execute("update marts.coverage set expected_median = 12, records = 11 where status <> 'no_reference'")
    owner.execute("update marts.coverage set records = 0 where hospital_id = 'h02' and month >= '2025-11-01'")
    found = marts.read(Platform(settings)).coverage
    assert found is not None
    assert (found.judged, found.cells, found.findings) == (0, 180, [])
    assert Counter(found.status.values()) == {"few": 160, "no_reference": 18, "empty": 2}
    said = read(built(settings)).told
    assert "0 of 180 hospital-months could be judged" in " ".join(said["en"])
    assert "No month could be judged" in " ".join(said["en"])
    assert "Aucun mois n'a pu être jugé" in " ".join(said["fr"])
    assert "volumes expected." not in " ".join(said["en"])
    # one table of one month that is judged, and as expected
    owner.execute(
        "update marts.coverage set expected_median = 101, status = 'ok' where hospital_id = 'h01' and month = '2025-06-01' and table_name = 'stay'"
    )
    said = read(built(settings)).told
    assert "1 of 180 hospital-months could be judged" in " ".join(said["en"])
    assert "Every month that could be judged is within the volumes expected." in said["en"]


def test_doses_that_no_rate_counts_are_told_with_the_hospitals_that_have_many(
    settings: Settings, owner: cursor
) -> None:
    report_world.ledger(owner, HOSPITALS[:3])
    report_world.released(owner, HOSPITALS[:3])
    told = {
        u.hospital: (u.doses, u.without_ddd, u.unmapped, u.many) for u in marts.read(Platform(settings)).uncounted or []
    }
    assert told == {HOSPITALS[0]: (6000, 60, 60, False), HOSPITALS[1]: (6000, 120, 60, True)}
    line = built(settings).split('<p id="uncounted">')[1].split("</p>")[0]
    assert "12,000" in line
    assert f"{HOSPITALS[1]} (" in line
    assert f"{HOSPITALS[0]} (" not in line


def test_a_hospital_outside_the_group_has_its_own_figures(settings: Settings, owner: cursor) -> None:
    report_world.ledger(owner, [*HOSPITALS[:3], "h38"])
    report_world.released(owner, [*HOSPITALS[:3], "h38"])
    # its calendar is shifted: none of its months is one of the group's
    for mart in ("coverage", "antibiotic_consumption"):
        owner.execute(f"update marts.{mart} set month = month + interval '100 years' where hospital_id = 'h38'")
    [own] = marts.read(Platform(settings)).outside or []
    owner.execute(
        "select sum(patient_days), sum(ddd)::float, sum(days_of_therapy), sum(length_of_therapy) from marts.antibiotic_consumption "
        "where hospital_id = 'h38' and covered"
    )
    [used] = own.consumption
    assert (used.patient_days, pytest.approx(used.ddd), used.therapy, used.any_antibiotic) == owner.fetchone()
    assert (used.scope, used.covered, used.months) == ("spares", 40, 60)
    assert used.rate == pytest.approx(1000 * (used.ddd or 0) / 40_000)
    assert (own.hospital, own.first.year, own.last.year) == ("h38", 2121, 2125)
    assert dict(own.records)["stay"] == 6000
    assert own.antibiogram is not None
    assert own.antibiogram.periods[0]
    html = built(settings)
    section = html.split('<section id="outside">')[1].split("</section>")[0]
    assert texts.number(used.patient_days).en in section
    assert "E. coli" in section
    # the group alone
    owner.execute("update marts.coverage set in_group = true")
    assert marts.read(Platform(settings)).outside == []
    assert "Every hospital served is of the group." in read(built(settings)).told["en"]


def test_each_of_the_four_stages_says_what_became_of_its_rows(settings: Settings, owner: cursor) -> None:
    report_world.ledger(owner, HOSPITALS[:2])
    for stage, run in (("consolidate", "consolidate-1"), ("load", "consolidate-1")):
        for hospital in HOSPITALS[:2]:
            for table, left in (("stay", 0), ("administration", 4 if stage == "load" else 0)):
                why = {"not_an_antibacterial": 3, "drug_without_standard_code": 1} if left else {}
                owner.execute(
                    "insert into control.accounting (run_id, stage, token, hospital_id, delivery_id, table_name, rows_in, rows_out, "
                    "rows_quarantined, rows_superseded, rows_unparseable, hash_in, hash_out, hash_quarantined, hash_superseded, "
                    "hash_unparseable, rows_not_loaded, not_loaded) values (%s, %s, 1, %s, '2025-10-full', %s, 10, %s, 0, 0, 0, 0, 0, "
                    "0, 0, 0, %s, %s)",
                    (run, stage, hospital, table, 10 - left, left, json.dumps(why)),
                )
    counted = (
        "insert into quality.result (run_id, stage, hospital_id, delivery_id, table_name, rule_id, rule_version, category, severity, "
        "action, status, rows_checked, rows_failed, threshold) values ('publish-1', 'conformed', %s, '*', 'stay', 'stay.key.unique', 1, "
        "'x', 'error', 'fail', 'pass', %s, 0, 0)"
    )
    owner.execute(counted, ("*", 20))
    owner.execute(counted, ("h01", 10))
    land, consolidate, load, publish = data.read(Platform(settings)).balances
    assert [b.stage for b in (land, consolidate, load, publish)] == ["land", "consolidate", "load", "publish"]
    assert (load.rows_in, load.rows_out, load.not_loaded, load.balanced) == (40, 32, 8, True)
    assert [(reason.en, n) for reason, n in load.reasons] == [
        ("a drug that is no antibacterial", 6),
        ("a drug without a standard code", 2),
    ]
    assert (publish.rows_in, publish.rows_out, publish.balanced) == (20, 20, True)
    said = " ".join(read(built(settings)).told["en"])
    assert "Kept in the lake, not loaded:" in said
    assert "Publish has no account of single rows" in said
    owner.execute("update quality.result set rows_checked = 19 where rule_id = 'stay.key.unique' and hospital_id = '*'")
    assert not data.read(Platform(settings)).balances[-1].balanced
    # a hospital that was loaded before loads had accounts: what staging held is not known, and nothing is claimed
    owner.execute("insert into control.load (hospital_id, content_hash, run_id) values ('h09', 'x', 'x')")
    assert [b.stage for b in data.read(Platform(settings)).balances] == ["land", "consolidate", "load"]


def test_the_planted_value_is_shown_on_simulated_data_only(settings: Settings, owner: cursor) -> None:
    report_world.ledger(owner, HOSPITALS[:3])
    report_world.released(owner, HOSPITALS[:3])
    truth = settings.root / "simulation" / "truth.json"
    truth.parent.mkdir(exist_ok=True)
    effect = {
        "name": "fluoroquinolone_ciprofloxacin", "agent": "CIP", "exposure": "a dose of J01MA given on a local day",
        "planted_odds_ratio": 2.5, "expected_crude_odds_ratio": 3.2,
    }  # fmt: skip
    truth.write_text(json.dumps({"plan": {"hospitals": HOSPITALS[:3]}, "effects": [effect]}), encoding="utf-8")
    try:
        [own] = planted.planted_effects(Platform(settings))
        assert (own.atc, own.odds_ratio, own.expected_crude) == ("J01MA", 2.5, 3.2)
        exposures = marts.read(Platform(settings)).exposures or []
        assert [(e.effect, e.window_days) for e in exposures if e.planted] == [("fluoroquinolone_ciprofloxacin", 90)]
        assert (exposures[0].main, exposures[1].main) == (True, False)
        assert 'class="planted"' in built(settings)
        owner.execute("insert into control.load (hospital_id, content_hash, run_id) values ('h38', 'x', 'x')")
        assert planted.planted_effects(Platform(settings)), "hospital 38 is outside the study: it enters no estimate"
        owner.execute("insert into control.load (hospital_id, content_hash, run_id) values ('h99', 'x', 'x')")
        assert planted.planted_effects(Platform(settings)) == []
        assert 'class="planted"' not in built(settings)
    finally:
        truth.unlink()
    assert planted.planted_effects(Platform(settings)) == []


def test_words_from_outside_are_escaped(settings: Settings, owner: cursor) -> None:
    report_world.ledger(owner, HOSPITALS[:2], blocked="h01")
    report_world.released(owner, HOSPITALS[:2])
    bad = "<script>alert(1)</script>\"'><img src=x>"
    owner.execute("update quality.verdict set reasons = %s", (bad,))
    owner.execute(
        "update control.delivery set error_what = %s, error_code = %s where error_what is not null", (bad, bad)
    )
    owner.execute("update control.rejected_record set rule_ids = %s", (bad,))
    owner.execute("update quality.result set rule_id = rule_id || %s", (bad,))
    owner.execute("update marts.cumulative_antibiogram set species_name = %s, agent_name = %s", (bad, bad))
    owner.execute(
        "update marts.antibiotic_consumption set item = %s where grouping = 'aware' and item = 'Watch'", (bad,)
    )
    owner.execute("update marts.exposure_resistance set effect = effect || %s, exposure_atc = %s", (bad, bad))
    owner.execute("update marts.coverage set table_name = %s", (bad,))
    html = built(settings)
    read(html)
    assert "<script>alert" not in html
    assert "<img" not in html
    assert html.count("<script>") == 1


def test_of_a_name_that_is_none(settings: Settings, owner: cursor) -> None:
    with pytest.raises(UnknownName, match="no run yet"):
        files.build(Platform(settings))
    report_world.ledger(owner, HOSPITALS[:2])
    with pytest.raises(UnknownName, match="nearest"):
        files.build(Platform(settings), "no-such-run")


def test_an_older_runs_report_is_not_the_latest(settings: Settings, owner: cursor) -> None:
    report_world.ledger(owner, HOSPITALS[:2])
    owner.execute(
        "insert into control.run (run_id, dag_id, state, started_at, ended_at) values ('ingest-newer', 'ingest_deliveries', "
        "'nothing_new', '2026-02-01', '2026-02-01')"
    )
    files.build(Platform(settings))
    latest = (files.folder(settings) / files.LATEST).read_text(encoding="utf-8")
    assert "Nothing new" in latest
    files.build(Platform(settings), "consolidate-1")  # any run of a chain names the chain
    assert (files.folder(settings) / files.LATEST).read_text(encoding="utf-8") == latest
    assert (files.folder(settings) / f"{report_world.ROOT}.html").exists()


def test_a_report_that_fails_does_not_fail_the_run(
    settings: Settings, owner: cursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_world.ledger(owner, HOSPITALS[:2])

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("PATIENT-VALUE")

    monkeypatch.setattr(data, "read", broken)
    with structlog.testing.capture_logs() as logs:
        assert files.build_quietly(Platform(settings), "publish-1") is None
    assert [(e["event"], e["log_level"], e["code"]) for e in logs] == [("report_not_written", "warning", "E_REPORT")]
    assert "PATIENT-VALUE" not in str(logs)
    down = settings.model_copy(update={"postgres_port": 1})
    with structlog.testing.capture_logs() as logs:
        assert files.build_quietly(Platform(down), "publish-1") is None
    assert logs[0]["code"] == "E_DATABASE"


@pytest.mark.parametrize("fails", [False, True])
def test_publish_writes_the_report_whatever_its_end(
    settings: Settings, owner: cursor, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    from estuaire.base.errors import PublishFailed
    from estuaire.warehouse import publish

    def build(*_: Any, **__: Any) -> publish.PublishOutcome:
        if fails:
            raise PublishFailed("a test failed", remedy="mend it")
        return publish.PublishOutcome("published", 3, "x", "release 3 is served", 1.0)

    monkeypatch.setattr(publish, "build_and_publish", build)
    monkeypatch.setattr(Lake, "snapshot", lambda _: 4)
    path = files.folder(settings) / "ingest-own.html"
    path.unlink(missing_ok=True)
    owner.execute(
        "insert into control.run (run_id, dag_id, state, ended_at) values ('ingest-own', 'ingest_deliveries', 'success', now())"
    )
    if fails:
        with pytest.raises(PublishFailed):
            tasks.publish(Platform(settings), "publish-own", "ingest-own")
    else:
        assert tasks.publish(Platform(settings), "publish-own", "ingest-own") == "release 3 is served"
    assert ("Failed" if fails else "Succeeded") in read(path.read_text(encoding="utf-8")).told["en"]


def test_a_publication_notes_each_models_seconds_and_runs_and_explain_tell_them(
    settings: Settings, owner: cursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from estuaire.base import settings as settings_module
    from estuaire.cli import build
    from estuaire.warehouse import publish
    from estuaire.warehouse.dbt_build import Node

    nodes = (
        Node("coverage", "model", "success", 0, 2.5), Node("isolate_episode", "model", "success", 0, 8.25),
        Node("organism", "seed", "success", 0, 0.5), Node("unique_coverage", "test", "pass", 0, 9.0),
    )  # fmt: skip
    outcome = publish.PublishOutcome("published", 3, "x", "release 3 is served", 1.0, nodes=nodes)
    monkeypatch.setattr(publish, "build_and_publish", lambda *_, **__: outcome)
    monkeypatch.setattr(Lake, "snapshot", lambda _: 4)
    # the build left no manifest: the page of the models is not written, and the release is served all the same
    assert tasks.publish(Platform(settings), "publish-own", None) == "release 3 is served"
    owner.execute(
        "select kind, name, b.seconds from control.model_build b join control.stage_run s using (run_id, stage, token) order by name"
    )
    assert owner.fetchall() == [
        ("model", "coverage", 2.5),
        ("model", "isolate_episode", 8.25),
        ("seed", "organism", 0.5),
    ]
    monkeypatch.setattr(settings_module, "settings", lambda: settings)
    told = {
        command: CliRunner().invoke(build(), command.split()).output
        for command in ("runs", "explain publish-own", "explain publish-own --lang fr")
    }
    slowest = "isolate_episode 8.2 s, coverage 2.5 s, organism 0.5 s"
    assert f"Slowest models of publish-own: {slowest}." in told["runs"]
    assert f"Slowest models: {slowest}" in told["explain publish-own"]
    assert f"Modèles les plus lents: {slowest}" in told["explain publish-own --lang fr"]
    for command in ("runs --json", "explain publish-own --json"):
        rows = json.loads(CliRunner().invoke(build(), command.split()).output)
        [stage] = rows["stages"] if isinstance(rows, dict) else rows
        assert stage["models"] == {"coverage": 2.5, "isolate_episode": 8.25, "organism": 0.5}


@pytest.mark.parametrize(
    ("told", "fr", "en"),
    [
        (texts.number(1234567), "1 234 567", "1,234,567"),
        (texts.number(3.14159, 2), "3,14", "3.14"),
        (texts.number(None), "–", "–"),
        (texts.percent(0.1234), "12,3 %", "12.3%"),
        (texts.percent(0.0), "0 %", "0%"),
        (texts.percent(0.00004), "0,004 %", "0.004%"),
        (texts.size(2_600_000_000), "2,6 Go", "2.6 GB"),
        (texts.duration(3.21), "3,2 s", "3.2 s"),
        (texts.duration(754), "12 min 34 s", "12 min 34 s"),
        (texts.counted("todo_waiting", 1, hospitals=texts.counted("n_hospitals", 1)), "1 ligne mise de côté dans 1 hôpital attend une correction",
         "1 row set aside in 1 hospital waits for a correction"),
        (texts.text("tile_deliveries_note", landed=texts.counted("n_landed", 0), blocked=texts.counted("n_blocked", 2)),
         "0 intégrée, 2 bloquées", "0 landed, 2 blocked"),
    ],
)  # fmt: skip
def test_numbers_as_each_language_writes_them(told: texts.Text, fr: str, en: str) -> None:
    assert re.sub(r"\s", " ", told.fr) == fr
    assert re.sub(r"\s", " ", told.en) == en


def test_text_on_a_heat_cell_can_be_read() -> None:
    for percent in range(101):
        background, colour = charts.heat(percent / 100)
        assert charts.contrast(background, colour) >= 4.5, percent
