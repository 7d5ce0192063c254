"""Dates that no rule upstream set aside: written right into staging, they make no series longer than the hospital's own period, they are
counted, and no other number changes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import exposure_world
import pytest
import staging_world
import yaml
from psycopg2.extensions import connection
from staging_world import dose, moment, patient, stay

from estuaire.base.settings import Settings
from estuaire.gates.results import WHOLE
from estuaire.rules.rule_registry import EARLIEST, LATEST
from estuaire.storage import ledger
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform
from estuaire.warehouse import dbt_build
from estuaire.warehouse.publish import build_and_publish

LINEAGE = ("release_id", "lake_snapshot", "built_at", "code_version")
SERIES = (
    "conformed.patient_day",
    "conformed.hospital_month",
    "conformed.observed_day",
    "conformed.index_exposure",
    "marts.coverage",
)
TOLD = date(2024, 4, 30)  # h02's newest extraction, and a day: the only hospital of which it is known
ADMITTED = date(2024, 3, 20)


def wild() -> dict[str, list[dict[str, Any]]]:
    """Three stays that end in 9999, at a hospital whose extraction is known (h02), one where it is not (h19), one with a shifted calendar
    (h38); at h19, a movement, a dose and an infection of 9999, and records of the year 1."""
    tables: dict[str, list[dict[str, Any]]] = {
        name: []
        for name in (
            "patient",
            "stay",
            "movement",
            "administration",
            "specimen",
            "isolate",
            "susceptibility",
            "diagnosis",
        )
    }
    for h, admitted in (("h02", f"{ADMITTED} 08:00"), ("h19", "2023-06-05 08:00"), ("h38", "2024-01-03 08:00")):
        tables["patient"].append(patient(h, "wild"))
        tables["stay"].append(
            stay(h, "wild", "wild", admitted, "9999-12-31 00:00") | moment("ended_at", "9999-12-31 00:00")
        )
        tables["movement"].append(
            {"hospital_id": h, "stay_id": "wild", "rank": 1, "unit_code": "REA", "unit_type": "icu", "stale_correction": False,
             **moment("entered_at", admitted), **moment("left_at", "9999-12-31 00:00")}
        )  # fmt: skip
    tables["stay"].append(
        stay("h11", "first", "wild", "0002-01-01 08:00", "2022-06-01 08:00") | moment("ended_at", "2022-06-01 08:00")
    )
    tables["patient"].append(patient("h11", "wild"))
    for year in ("0002", "9999"):
        tables["administration"].append(dose("h11", f"wild{year}", "wild", None, "J01MA02", f"{year}-12-30 08:00"))
        tables["specimen"].append(
            {"hospital_id": "h11", "specimen_id": f"wild{year}", "draw_id": f"wild{year}", "patient_id": "wild", "nature": "urine",
             "purpose": "diagnostic", "stale_correction": False, **moment("collected_at", f"{year}-12-30 08:00")}
        )  # fmt: skip
        isolate = {"hospital_id": "h11", "specimen_id": f"wild{year}", "isolate_number": 1, "stale_correction": False}
        tables["isolate"].append(
            {**isolate, "organism_code": "B_ESCHR_COLI", "organism_code_source": "x", "status": "final"}
        )
        tables["susceptibility"].append(
            {**isolate, "drug_code": "CIP", "drug_code_source": "CIP", "category": "R", "category_source": "R"}
        )
    return tables


@dataclass
class Built:
    """A published world: rows of each mart without its lineage, rows of the models made of series, results of gate 3."""

    marts: dict[str, set[tuple[Any, ...]]]
    rows: dict[str, int]
    results: dict[tuple[str, str], tuple[str, int]]
    nights: dict[str, int]

    def of(self, mart: str, *, without: set[str]) -> set[tuple[Any, ...]]:
        """Rows of the hospitals other than these."""
        return {row for row in self.marts[mart] if not without & {str(v) for v in row}}


def publish(session: connection, settings: Settings, rules: Path, run: str) -> Built:
    ledger.start_run(Database.of(settings), run, "publish_marts")
    build_and_publish(Platform(settings), run, 42, "abc123", rules=rules)
    with session.cursor() as cur:
        cur.execute(
            "select table_name, array_agg(column_name::text order by ordinal_position) from information_schema.columns "
            "where table_schema = 'marts' group by 1"
        )
        marts: dict[str, set[tuple[Any, ...]]] = {}
        for name, columns in cur.fetchall():
            kept = [c for c in columns if c not in LINEAGE]
            if kept:
                cur.execute(f"select {', '.join(f'{c}::text' for c in kept)} from marts.{name}")
                marts[name] = set(cur.fetchall())
        rows = {}
        for name in SERIES:
            cur.execute(f"select count(*) from {name}")
            [rows[name]] = cur.fetchone() or [0]
        cur.execute(
            "select rule_id, hospital_id, status, rows_failed from quality.result where run_id = %s and stage = 'conformed'",
            (run,),
        )
        results = {(rule, hospital): (status, failed) for rule, hospital, status, failed in cur.fetchall()}
        cur.execute("select hospital_id, count(*) from conformed.patient_day group by 1")
        return Built(marts, rows, results, dict(cur.fetchall()))


@pytest.fixture(scope="module")
def builds(warehouse: connection, warehouse_settings: Settings, rules: Path) -> tuple[Built, Built]:
    """The same world published without and with the wild dates."""
    world = staging_world.together(staging_world.small(), staging_world.courses(), exposure_world.draw(7, people=40))
    for row in world["hospital"]:
        row["latest_day"] = TOLD if row["hospital_id"] == "h02" else None
    with warehouse.cursor() as cur:
        staging_world.load(cur, world)
        before = publish(warehouse, warehouse_settings, rules, "run-before")
        for name, rows in wild().items():
            staging_world.insert(cur, name, rows)
        staging_world.count_days(cur, world["administration_day"])
        cur.execute("update control.load set content_hash = 'wild'")
    return before, publish(warehouse, warehouse_settings, rules, "run-wild")


def test_no_series_is_longer_than_the_hospital_s_period(builds: tuple[Built, Built]) -> None:
    before, after = builds
    nights = (TOLD - ADMITTED).days  # of h02's stay until its extraction; nothing tells that of the others
    assert after.rows["conformed.patient_day"] - before.rows["conformed.patient_day"] == nights == 41
    assert {h: n - before.nights.get(h, 0) for h, n in after.nights.items()} == {
        h: nights * (h == "h02") for h in after.nights
    }
    assert after.rows["conformed.observed_day"] == before.rows["conformed.observed_day"]
    assert after.rows["conformed.index_exposure"] == before.rows["conformed.index_exposure"]
    # h02's months now reach April; all others keep theirs
    assert 0 < after.rows["conformed.hospital_month"] - before.rows["conformed.hospital_month"] <= 4
    assert 0 < after.rows["marts.coverage"] - before.rows["marts.coverage"] <= 4 * 10


def test_no_other_number_changes(builds: tuple[Built, Built]) -> None:
    before, after = builds
    for mart in before.marts:
        if mart == "first_isolate":
            assert before.marts[mart] <= after.marts[mart]
        elif mart == "cumulative_antibiogram":
            assert {r for r in after.marts[mart] if r[4] not in ("2", "9999")} == before.marts[mart]  # r[4]: the year
        elif mart == "coverage":  # the three admissions are records of their months
            touched = {"h02", "h19", "h38"}
            assert after.of(mart, without=touched) == before.of(mart, without=touched) != set()
        else:
            assert after.of(mart, without={"h02"}) == before.of(mart, without={"h02"}) != set(), mart
    # h38's own figures, in a shifted calendar, and h02's months of before are as they were
    assert {r for r in after.marts["antibiotic_consumption"] if r[0] == "h38"} != set()
    months = {r[1] for r in before.marts["antibiotic_consumption"] if r[0] == "h02"}
    untouched = {m for m in months if m < "2024-03-01"}
    assert untouched
    for build in builds:
        found = {r for r in build.marts["antibiotic_consumption"] if r[0] == "h02" and r[1] in untouched}
        assert found == {r for r in before.marts["antibiotic_consumption"] if r[0] == "h02" and r[1] in untouched}


def test_what_was_cut_is_counted_by_hospital(builds: tuple[Built, Built], warehouse: connection) -> None:
    before, after = builds
    stays = {h: failed for (rule, h), (_, failed) in after.results.items() if rule == "stay.dates.within_period"}
    assert {h for h, failed in stays.items() if failed} == {WHOLE, "h02", "h11", "h19", "h38"}
    assert {failed for h, failed in stays.items() if failed and h != WHOLE} == {1}
    assert {status for (rule, _), (status, _) in before.results.items() if "within_period" in rule} == {"pass"}
    months = {
        h: failed for (rule, h), (_, failed) in after.results.items() if rule == "record_month.month.within_period"
    }
    # h11: a stay, doses, specimens, isolates and results of year 2 or 9999
    assert months["h11"] == 1 + 4 * 2
    assert months["h02"] == months["h38"] == 0
    with warehouse.cursor() as cur:
        cur.execute(
            "select hospital_id, counted_until_local, discharged_at_local from conformed.stay where dates_cut order by 1"
        )
        assert cur.fetchall() == [
            ("h02", datetime(2024, 4, 30, 23, 59, 59), datetime(9999, 12, 31)),
            ("h11", datetime(2, 1, 1, 8), datetime(2022, 6, 1, 8)),
            ("h19", datetime(2023, 6, 5, 8), datetime(9999, 12, 31)),
            ("h38", datetime(2024, 1, 3, 8), datetime(9999, 12, 31)),
        ]


def test_the_widest_period_is_the_one_that_landing_reads() -> None:
    told = yaml.safe_load((dbt_build.PROJECT / "dbt_project.yml").read_text(encoding="utf-8"))["vars"]
    assert told["first_day"] == EARLIEST
    assert (date.fromisoformat(LATEST) - date.fromisoformat(told["last_day"])).days == 1


def test_rows_are_made_from_dates_by_the_bounded_macros_alone() -> None:
    files = [p for folder in ("models", "macros", "tests") for p in (dbt_build.PROJECT / folder).rglob("*.sql")]
    files += (dbt_build.PROJECT.parent / "expectations").rglob("*.yml")
    found = {
        (file.name, text)
        for file in files
        if file.name != "series.sql"
        for text in re.findall(r"generate_series\(([^)]*)\)", file.read_text(encoding="utf-8"))
    }
    # times that a presentation is given; months before
    assert found == {("combination_dose.sql", "1, 4"), ("coverage.sql", "1, 12")}
