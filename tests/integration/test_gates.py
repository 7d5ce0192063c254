"""Gates 2, 3 and 4 on a clean simulated world: all pass; then one planted fault after the other blocks or warns at its own gate, and what
was committed or served before stays."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from small_platform import SmallPlatform, rewrite_as

from estuaire.base.errors import GateBlocked
from estuaire.base.settings import Settings
from estuaire.gates import consolidated as gate
from estuaire.gates.warehouse import audit, blocked
from estuaire.orchestration import consolidation_inputs
from estuaire.runs.explain import explain
from estuaire.simulator import SimulationPlan, simulate
from estuaire.simulator.trap_catalogue import CATALOGUE

FIRST, SECOND = "2025-10-full", "2025-11-delta"
Results = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def clean(new_platform: Callable[[], SmallPlatform], tmp_path_factory: pytest.TempPathFactory) -> SmallPlatform:
    """Two hospitals without a trap, through all four gates to a served release; their second deliveries are not landed yet."""
    folder = tmp_path_factory.mktemp("clean")
    plan = SimulationPlan(
        patients=4000,
        hospitals=("h01", "h02"),
        administrations_per_patient=4,
        trap_rates={t.name: 0.0 for t in CATALOGUE},
    )
    simulate(Settings(_env_file=None, home=folder / "home"), plan, target=folder)
    platform = new_platform()
    for hospital in ("h01", "h02"):
        platform.copy_delivery(folder, hospital, FIRST)
    assert platform.land()["landed"] == 2
    assert platform.consolidate()["blocked"] == []
    platform.load()
    assert platform.publish().release_id == 1
    for hospital in ("h01", "h02"):
        platform.copy_delivery(folder, hospital, SECOND)
    assert platform.land()["landed"] == 2
    return platform


def verdicts(platform: SmallPlatform, stage: str, run_id: str | None = None) -> dict[str, tuple[str, str]]:
    """Hospital (* is the release) -> (verdict, reasons) of the newest run of a stage."""
    run = (
        run_id
        or platform.ask(
            "select run_id from quality.verdict where stage = %s order by substring(run_id from 5)::int desc limit 1",
            stage,
        )[0][0]
    )
    rows = platform.ask(
        "select hospital_id, verdict, reasons from quality.verdict where stage = %s and run_id = %s", stage, run
    )
    return {h: (verdict, reasons) for h, verdict, reasons in rows}


# ------------------------------------------------------------------------------------------------ clean


@pytest.mark.parametrize("stage", ["landed", "consolidated", "conformed", "marts"])
def test_a_clean_world_passes_every_gate_and_both_counts_agree(clean: SmallPlatform, stage: str) -> None:
    decided = clean.ask("select distinct verdict, reasons from quality.verdict where stage = %s", stage)
    assert decided == [("pass", "")]
    statuses = dict(clean.ask("select status, count(*) from quality.result where stage = %s group by 1", stage))
    assert set(statuses) <= {"pass", "not_applicable"}
    assert statuses["pass"] > 0
    totals = clean.ask(
        "select rule_id, rows_failed, rows_failed_gx from quality.result where stage = %s and hospital_id = '*'", stage
    )
    assert totals
    if stage != "landed":
        assert [r for r in totals if r[1] != r[2]] == []


@pytest.mark.parametrize("stage", ["landed", "consolidated", "conformed", "marts"])
def test_data_docs_load_nothing_from_elsewhere(clean: SmallPlatform, stage: str) -> None:
    pages = sorted((clean.settings.root / "quality").glob(f"*/{stage}/*.html"))
    assert {"index.html"} < {p.name for p in pages}
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for tag in re.findall(r"<(?:link|script|img|iframe|object|source)\b[^>]*>", text):
            assert not re.search(r"""(?:src|href)=["']?\s*(?:https?:)?//""", tag), tag
        assert not re.search(r"@import|url\(", text)
        [style] = re.findall(r'<link rel="stylesheet" href="([^"]*)">', text)
        assert (page.parent / style).is_file()
    text = "".join(p.read_text(encoding="utf-8") for p in pages)
    assert re.search(
        r"\((?:fail|warn|quarantine)", text
    )  # a rule's label stands where Great Expectations wrote the column's name


def test_the_cost_of_the_gates_is_in_the_ledger(clean: SmallPlatform) -> None:
    rows = clean.ask(
        "select stage, gate_seconds, seconds from control.stage_run where state = 'committed' and stage in ('land', 'consolidate')"
    )
    assert rows
    for stage, gates, seconds in rows:
        assert 0 < gates < seconds, stage


# ------------------------------------------------------------------------------------------------ consolidated


def spoil(
    platform: SmallPlatform, results: Results, hospital: str, table: str, query: str, *, recount: bool = True
) -> None:
    """Replace what a hospital's table was written as; ``recount`` as its consolidation would have counted it."""
    [outcome] = [o for o in results[hospital] if o["table"] == table]
    path = platform.settings.store_path / outcome["output"]
    rewrite_as(path, query)
    if recount:
        outcome["checks"] = gate.count(str(path), table)


FAULTS = {
    "key": ("stay", "select * from t union all (select * from t limit 3)", "stay.key.unique: 3 of"),
    "required": ("stay", "select * replace (nullif(patient_id, min(patient_id) over ()) as patient_id) from t", "stay.patient_id.required"),
    "range": ("patient", "select * replace (date '1849-12-31' as birth_date) from t", "patient.birth_date.range"),
    "code system": ("patient", "select * replace ('neuter' as sex) from t", "patient.sex.code"),
    "relation": (
        "administration", "select * replace (concat_ws(',', flags, 'administration.patient_id.orphan') as flags) from t",
        "administration.patient_id.orphan",
    ),
}  # fmt: skip


def _lake(platform: SmallPlatform) -> list[tuple[Any, ...]]:
    return platform.in_lake(
        "select hospital_id, table_name, n from (select hospital_id, 'stay' as table_name, count(*) as n from "
        "lake.consolidated.stay group by all union all select hospital_id, 'patient', count(*) from lake.consolidated.patient "
        "group by all union all select hospital_id, 'map', count(*) from lake.consolidated.patient_map group by all) order by all"
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_hospital_is_blocked_and_not_tried_again(clean: SmallPlatform, fault: str) -> None:
    table, query, reason = FAULTS[fault]
    clean.execute("delete from control.consolidation_block")
    before, snapshot = _lake(clean), clean.lake.snapshot()
    accounted = clean.ask("select count(*) from control.accounting where stage = 'consolidate'")

    def plant(results: Results) -> None:
        assert sorted(results) == ["h01", "h02"]
        for hospital in results:
            spoil(clean, results, hospital, table, query)

    result = clean.consolidate(before_audit=plant)
    assert (result["hospitals"], result["blocked"], result["rows"]) == ([], ["h01", "h02"], 0)
    decided = verdicts(clean, "consolidated")
    assert {h: v for h, (v, _) in decided.items()} == {"h01": "block", "h02": "block"}
    assert all(reason in reasons for _, reasons in decided.values())
    # former records stay in use, nothing is accounted for or left behind, and the next run does not try the same input again
    assert (_lake(clean), clean.lake.snapshot()) == (before, snapshot)
    assert clean.ask("select count(*) from control.accounting where stage = 'consolidate'") == accounted
    assert consolidation_inputs.changed(clean) == []
    assert clean.consolidate() == {"hospitals": [], "blocked": [], "rows": 0}


def test_explain_says_which_gate_blocked_and_what_to_do(clean: SmallPlatform) -> None:
    [(run_id,)] = clean.ask("select distinct run_id from control.consolidation_block")
    found = explain(clean, run_id)
    stops = [s for s in found.stopped if s.where == "h01: gate consolidated"]
    assert [s.code for s in stops] == ["E_GATE_BLOCKED"]
    assert "code map" in stops[0].remedy
    assert ("gate", "h01") in {(s.kind, s.about) for s in found.next}
    assert {(g["stage"], g["verdict"]) for g in found.gates} == {("consolidated", "block")}


def test_counts_that_disagree_are_an_error_and_block(clean: SmallPlatform) -> None:
    clean.execute("delete from control.consolidation_block")

    def plant(results: Results) -> None:
        for hospital in results:
            spoil(clean, results, hospital, "patient", FAULTS["code system"][1], recount=False)

    assert clean.consolidate(before_audit=plant)["blocked"] == ["h01", "h02"]
    assert all("counts" in r or "count differ" in r for _, r in verdicts(clean, "consolidated").values())
    errors = clean.ask("select distinct rule_id from quality.result where status = 'error' and stage = 'consolidated'")
    assert errors == [("patient.sex.code",)]


def test_one_blocked_hospital_does_not_stop_the_other_and_few_orphans_warn(clean: SmallPlatform) -> None:
    """Last of the consolidated gate: it commits h02."""
    clean.execute("delete from control.consolidation_block")
    before = {row[:2]: row[2] for row in _lake(clean)}
    few = (
        FAULTS["relation"][1]
        + " where record_number % 50 = 1 union all by name select * from t where record_number % 50 <> 1"
    )

    def plant(results: Results) -> None:
        spoil(clean, results, "h01", "stay", FAULTS["key"][1])
        spoil(clean, results, "h02", "administration", few)

    result = clean.consolidate(before_audit=plant)
    assert (result["hospitals"], result["blocked"]) == (["h02"], ["h01"])
    decided = verdicts(clean, "consolidated")
    assert (decided["h01"][0], decided["h02"][0]) == ("block", "warn")
    assert "administration.patient_id.orphan" in decided["h02"][1]
    after = {row[:2]: row[2] for row in _lake(clean)}
    assert after["h01", "stay"] == before["h01", "stay"]
    assert after["h01", "map"] == before["h01", "patient"]
    assert after["h02", "map"] == after["h02", "patient"]
    assert clean.load()["hospitals"] == ["h02"]
    # a new delivery is new input: the block no longer stands
    assert consolidation_inputs.changed(clean) == []
    clean.execute("update control.consolidation_block set input_hash = 'of another input'")
    assert consolidation_inputs.changed(clean) == ["h01"]
    assert clean.consolidate()["hospitals"] == ["h01"]
    assert clean.ask("select count(*) from control.consolidation_block") == [(0,)]
    clean.load()


# ------------------------------------------------------------------------------------------------ conformed and marts

CANDIDATE_FAULTS = {
    "MIC not parsed": (
        "update conformed_next.susceptibility set value_status = 'unparsed' where ctid in "
        "(select ctid from conformed_next.susceptibility where value_source is not null limit "
        "(select count(*) / 50 from conformed_next.susceptibility))",
        "conformed", "susceptibility.mic.parsed",
    ),
    "organism not mapped": (
        "update conformed_next.isolate set organism_code = null where isolate_number = 1", "conformed", "isolate.organism.mapped"
    ),
    "range": ("update conformed_next.patient set birth_year = 1800", "conformed", "patient.birth_year.range"),
    "key": (
        # not a table with a unique index, which would refuse the row itself
        "insert into conformed_next.lab_result select * from conformed_next.lab_result limit 1",
        "conformed", "lab_result.key.unique: 1 of",
    ),
    "dates out of life": (
        "update conformed_next.patient set death_date = date '1990-01-01'", "conformed", "dates_in_life.stay.within_life"
    ),
    "one release": ("insert into marts_next.release select * from marts_next.release", "marts", "release.one.release: 1 of 2"),
}  # fmt: skip


@pytest.fixture(scope="module")
def judged(clean: SmallPlatform) -> dict[str, tuple[GateBlocked | None, str]]:
    """Fault -> (what blocks the candidate, ledger run of the audit): one candidate, spoiled by one fault after the other and restored."""
    found: dict[str, tuple[GateBlocked | None, str]] = {}

    def audited(session: Any) -> None:
        run_id = clean.new_run()
        found[""] = (blocked(audit(clean, session, run_id)), run_id)
        for fault, (statement, stage, _) in CANDIDATE_FAULTS.items():
            [table] = set(re.findall(rf"(?:update|into) ({stage}_next\.\w+)", statement))
            run_id = clean.new_run()
            with session.cursor() as cur:
                cur.execute(f"create temp table before as table {table}")
                cur.execute(statement)
            session.commit()
            found[fault] = (blocked(audit(clean, session, run_id)), run_id)
            with session.cursor() as cur:
                cur.execute(f"truncate {table}; insert into {table} table before; drop table before")
            session.commit()
        raise _Enough

    with pytest.raises(_Enough):
        clean.publish(before_gates=audited)
    return found


class _Enough(Exception):
    """Ends a publish whose candidate was only to be looked at."""


@pytest.mark.parametrize("fault", CANDIDATE_FAULTS)
def test_each_fault_of_a_candidate_blocks_at_its_own_gate(
    clean: SmallPlatform, judged: dict[str, tuple[GateBlocked | None, str]], fault: str
) -> None:
    _, stage, reason = CANDIDATE_FAULTS[fault]
    error, run_id = judged[fault]
    assert error is not None
    assert f"gate {stage}" in error.what
    assert reason in error.what
    assert not error.retryable
    decided = verdicts(clean, stage, run_id)
    assert decided["*"][0] == "block"
    assert reason in decided["*"][1]
    other = "marts" if stage == "conformed" else "conformed"
    assert verdicts(clean, other, run_id)["*"][0] == "pass"


def test_the_candidate_was_not_blocked_before_it_was_spoiled(judged: dict[str, tuple[GateBlocked | None, str]]) -> None:
    assert judged[""][0] is None
    assert len(judged) == len(CANDIDATE_FAULTS) + 1


@pytest.mark.parametrize("fault", ["key", "one release"])
def test_a_faulty_candidate_is_not_served(clean: SmallPlatform, fault: str) -> None:
    """A fault of each gate, through the whole of a publish."""
    statement, stage, reason = CANDIDATE_FAULTS[fault]
    served = clean.ask("select release_id from marts.release")

    def plant(session: Any) -> None:
        with session.cursor() as cur:
            cur.execute(statement)
        session.commit()

    with pytest.raises(GateBlocked) as raised:
        clean.publish(before_gates=plant)
    assert f"gate {stage}" in raised.value.what
    assert reason in raised.value.what
    assert not raised.value.retryable
    assert clean.ask("select release_id from marts.release") == served
    decided = verdicts(clean, stage)
    assert decided["*"][0] == "block"
    assert reason in decided["*"][1]
    other = "marts" if stage == "conformed" else "conformed"
    assert verdicts(clean, other)["*"][0] == "pass"
    assert clean.ask("select nspname from pg_namespace where nspname like '%%\\_next'") == []


def test_the_same_candidate_without_a_fault_is_served(clean: SmallPlatform) -> None:
    before = clean.ask("select release_id from marts.release")
    assert clean.publish().state == "published"
    assert clean.ask("select release_id from marts.release") > before
