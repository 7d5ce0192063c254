"""``python -m examples.mimic_iv_demo.compare``: hospital 38's figures from raw counts to published ones, one choice a line.

Each waterfall begins with what the raw files hold, goes on with each choice that changes the number (what is no isolate, screening, names
that are one organism, stays, coverage, what a dose means: docs/domain/), and ends with what the marts publish where a platform is up. It is
counted anew from the raw files, the reviewed lists and the code maps, so that it stays true when one of them changes. No patient's value
is printed.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console
from rich.table import Table

from estuaire.base.errors import DatabaseUnavailable, EstuaireError
from estuaire.base.settings import PROJECT_ROOT, Settings, settings
from estuaire.contract.codes import hospital_map
from estuaire.contract.registry import load_registry
from estuaire.storage.platform import Platform
from estuaire.warehouse.query import run_query
from examples.mimic_iv_demo.mapping import opened

HOSPITAL = "h38"
ANALYSIS_SPECIES = PROJECT_ROOT / "dbt_project" / "seeds" / "reference" / "analysis_species.csv"
COVERED_SHARE = 0.5  # of the days with patients that must have an administration (docs/domain/consumption.md)
EPISODE_DAYS = 30
# ATC code -> name, DDD in grams by injection (WHO index), grams of the substance that the DDD counts in a gram of product
COMBINATIONS = {
    "J01CR05": ("piperacillin-tazobactam", 14.0, 4 / 4.5),
    "J01CR01": ("ampicillin-sulbactam", 6.0, 2 / 3),
}
# ATC code -> name: days of therapy
THERAPIES = {
    "J01XA01": "vancomycin, injected", "J01CR05": "piperacillin-tazobactam", "J01DD04": "ceftriaxone", "J01DE01": "cefepime",
    "J01MA02": "ciprofloxacin",
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """A choice, and the number that it leaves. ``published``: of the last step, what the marts say; None without a platform."""

    choice: str
    number: float
    published: float | None = None

    @property
    def agrees(self) -> bool | None:
        """Whether the marts publish the number; None where they were not asked."""
        return None if self.published is None else abs(self.number - self.published) < 0.01


@dataclass
class Waterfall:
    """One figure: its steps in order, the raw count first."""

    figure: str
    unit: str
    steps: list[Step] = field(default_factory=list)

    def add(self, choice: str, number: float, published: float | None = None) -> None:
        self.steps.append(Step(choice, round(float(number), 4), published))


class Published:
    """Numbers of the served release, read as an analyst; every question is None where no platform answers."""

    def __init__(self, where: Settings | None) -> None:
        self.where = where
        self.reason = ""

    def one(self, sql: str) -> float | None:
        if self.where is None:
            return None
        try:
            [row] = run_query(Platform(self.where), sql).rows
        except DatabaseUnavailable as error:
            self.where, self.reason = None, error.what
            return None
        return None if row[0] is None else float(row[0])

    def has(self, mart: str, column: str) -> bool:
        count = self.one(
            "select count(*) from information_schema.columns where table_schema = 'marts' "
            f"and table_name = '{mart}' and column_name = '{column}'"
        )
        return bool(count)


def compare(raw: Path, published: Published) -> list[Waterfall]:
    """The waterfalls of isolates, first isolates, nights, days of therapy and DDDs.

    Raises:
        RawDataMissing, RawDataDamaged, ListIncomplete: see the mapping.
    """
    with opened(raw) as connection:
        _maps(connection)
        nights = _nights(connection)
        given = _days(connection, "select distinct given_at::date from administration where given_at is not null")
        covered = _covered({night for _, night in nights}, given)
        return [
            _isolates(connection, published),
            *_first_isolates(connection, published),
            _patient_days(connection, nights, covered, published),
            *(_therapy(connection, atc, covered, published) for atc in THERAPIES),
            *(_doses(connection, atc, covered, published) for atc in COMBINATIONS),
        ]


# ------------------------------------------------------------------------------------------------ what is counted


def _maps(connection: duckdb.DuckDBPyConnection) -> None:
    """The code maps, and the lines that they leave: isolates with their species, administrations with their ATC code."""
    hospital = load_registry(settings().registry_dir).get(HOSPITAL)
    for system in ("organism", "drug", "route"):
        connection.execute(f"create table {system}_map (local text, standard text)")
        connection.executemany(f"insert into {system}_map values (?, ?)", list(hospital_map(hospital, system).items()))
    connection.execute(
        "create table named as select micro_specimen_id, test_seq, org_name, isolate_num, min(subject_id) as patient, "
        "min(coalesce(charttime, chartdate))::date as day, any_value(standard) as species, any_value(screening) as screening "
        "from microbiologyevents left join organism_map on upper(trim(org_name)) = local "
        "join (select micro_specimen_id, bool_and(t.test_name is not null) as screening from microbiologyevents e "
        "left join screening_tests t on e.test_name = t.test_name group by 1) using (micro_specimen_id) "
        "where org_name is not null group by 1, 2, 3, 4"
    )
    connection.execute(
        "create table dose as select a.patient_id as patient, a.given_at::timestamp as given_time, d.standard as atc, a.dose::double as grams, "
        "a.dose_unit, r.standard as route, exists (select 1 from admissions s where s.subject_id = a.patient_id "
        "and a.given_at::timestamp between s.admittime::timestamp and s.dischtime::timestamp) as in_stay "
        "from administration a left join drug_map d on upper(trim(a.drug_code)) = d.local "
        "left join route_map r on upper(trim(a.route)) = r.local"
    )


def _number(connection: duckdb.DuckDBPyConnection, sql: str) -> float:
    row = connection.execute(sql).fetchone()
    return float(row[0] or 0) if row else 0.0


def _days(connection: duckdb.DuckDBPyConnection, sql: str) -> set[date]:
    return {row[0] for row in connection.execute(sql).fetchall()}


def _nights(connection: duckdb.DuckDBPyConnection) -> set[tuple[str, date]]:
    """(patient, night) of every admission: a night of two overlapping ones is one."""
    return {
        (patient, start + timedelta(days=i))
        for patient, start, end in connection.execute(
            "select subject_id, admittime::date, dischtime::date from admissions"
        ).fetchall()
        for i in range((end - start).days)
    }


def _covered(occupied: set[date], given: set[date]) -> set[tuple[int, int]]:
    """(year, month) in which administrations of any drug were charted on at least half of the days with patients."""
    days: dict[tuple[int, int], list[bool]] = {}
    for day in occupied:
        days.setdefault((day.year, day.month), []).append(day in given)
    return {month for month, charted in days.items() if sum(charted) >= COVERED_SHARE * len(charted)}


def _isolates(connection: duckdb.DuckDBPyConnection, published: Published) -> Waterfall:
    waterfall = Waterfall("isolates", "isolates")
    waterfall.add("lines of microbiologyevents", _number(connection, "select count(*) from microbiologyevents"))
    waterfall.add(
        "lines that name an organism",
        _number(connection, "select count(*) from microbiologyevents where org_name is not null"),
    )
    waterfall.add(
        "one per specimen, test, organism and isolate number", _number(connection, "select count(*) from named")
    )
    organism = "species is not null and not starts_with(species, 'X_')"
    waterfall.add(
        "without statements that are no organism (CANCELLED, MIXED FLORA, POSITIVE)",
        _number(connection, "select count(*) from named where species is null or not starts_with(species, 'X_')"),
    )
    waterfall.add(
        "without organisms that have no standard code",
        _number(connection, f"select count(*) from named where {organism}"),
    )
    waterfall.add(
        "without screening: every test of the specimen is a screening one",
        _number(connection, f"select count(*) from named where {organism} and not screening"),
        _first_isolate_count(published, "all"),
    )
    connection.execute(f"create table counted as select * from named where {organism} and not screening")
    return waterfall


def _first_isolate_count(published: Published, method: str) -> float | None:
    among = " and among = 'all_isolates'" if published.has("first_isolate", "among") else ""
    return published.one(
        "select count(distinct isolate_key) from first_isolate where hospital_id = 'h38' and dedup_scope = 'hospital' "
        f"and method = '{method}' and excluded_because is null{among}"
    )


def _first_isolates(connection: duckdb.DuckDBPyConnection, published: Published) -> Iterator[Waterfall]:
    rows = connection.execute("select patient, upper(trim(org_name)), species, day from counted").fetchall()
    with ANALYSIS_SPECIES.open(encoding="utf-8", newline="") as file:
        same = {line["organism_code"]: line["analysis_species"] for line in csv.DictReader(file)}
    for method, title in (
        ("patient", "first isolates, one per patient and species ever"),
        ("m39", "first isolates, one per patient, species and year (M39)"),
        (f"episode_{EPISODE_DAYS}", f"first isolates, episodes of {EPISODE_DAYS} days"),
    ):
        waterfall = Waterfall(title, "isolates")
        waterfall.add("diagnostic isolates of organisms", len(rows))
        waterfall.add("deduplicated by the name as written", _deduplicated([(p, n, d) for p, n, _, d in rows], method))
        waterfall.add(
            "names that are one organism merged (presumptive, synonyms: the code map)",
            _deduplicated([(p, s, d) for p, _, s, d in rows], method),
        )
        waterfall.add(
            "a species and its complex are one (A. baumannii)",
            _deduplicated([(p, same.get(s, s), d) for p, _, s, d in rows], method),
            _first_isolate_count(published, method),
        )
        yield waterfall


def _deduplicated(rows: list[tuple[str, str, date]], method: str) -> int:
    if method == "patient":
        return len({(p, s) for p, s, _ in rows})
    if method == "m39":
        return len({(p, s, d.year) for p, s, d in rows})
    starts: dict[tuple[str, str], date] = {}
    kept = 0
    # two isolates of one day open one episode, of which each is an isolate of the day it begins: the first alone is kept
    for patient, species, day in sorted(rows, key=lambda r: r[2]):
        begun = starts.get((patient, species))
        if begun is None or (day - begun).days >= EPISODE_DAYS:
            starts[patient, species] = day
            kept += 1
    return kept


def _patient_days(
    connection: duckdb.DuckDBPyConnection,
    nights: set[tuple[str, date]],
    covered: set[tuple[int, int]],
    published: Published,
) -> Waterfall:
    waterfall = Waterfall("nights in full hospitalisation", "nights")
    waterfall.add(
        "nights of the admissions, added up",
        _number(connection, "select sum(date_diff('day', admittime::date, dischtime::date)) from admissions"),
    )
    waterfall.add("a night of two overlapping admissions is one", len(nights))
    waterfall.add(
        f"in months with an administration of any drug on at least {COVERED_SHARE:.0%} of the days with patients ({len(covered)} months)",
        sum((night.year, night.month) in covered for _, night in nights),
        published.one(
            "select sum(patient_days) from antibiotic_consumption where hospital_id = 'h38' and scope = 'all' "
            "and grouping = 'total' and covered"
        ),
    )
    return waterfall


def _in_months(rows: list[tuple[Any, ...]], covered: set[tuple[int, int]]) -> list[tuple[Any, ...]]:
    return [row for row in rows if (row[1].year, row[1].month) in covered]


def _therapy(
    connection: duckdb.DuckDBPyConnection, atc: str, covered: set[tuple[int, int]], published: Published
) -> Waterfall:
    waterfall = Waterfall(f"days of therapy, {THERAPIES[atc]} ({atc})", "patient x day")
    waterfall.add(
        "events that name the drug, given or not",
        _number(
            connection,
            "select count(*) from emar join emar_drug using (emar_id) left join pharmacy_order using (pharmacy_id) "
            f"join drug_map on upper(trim(drug_code(emar_drug.drug, pharmacy_order.route))) = local where standard = '{atc}'",
        ),
    )
    waterfall.add(
        "events of which a reviewed text says that a dose was given",
        _number(connection, f"select count(*) from dose where atc = '{atc}'"),
    )
    days = connection.execute(
        f"select patient, given_time::date, bool_or(in_stay) from dose where atc = '{atc}' group by 1, 2"
    ).fetchall()
    waterfall.add("distinct patient and day", len(days))
    inside = [row for row in days if row[2]]
    waterfall.add("given inside a stay, by the time at which it was given", len(inside))
    waterfall.add(
        "in covered months",
        len(_in_months(inside, covered)),
        _sum_of(published, "days_of_therapy", atc),
    )
    return waterfall


def _sum_of(published: Published, measure: str, atc: str) -> float | None:
    return published.one(
        f"select sum({measure}) from antibiotic_consumption where hospital_id = 'h38' and scope = 'all' and grouping = 'atc' "
        f"and item = '{atc}' and covered"
    )


def _doses(
    connection: duckdb.DuckDBPyConnection, atc: str, covered: set[tuple[int, int]], published: Published
) -> Waterfall:
    name, ddd, share = COMBINATIONS[atc]
    waterfall = Waterfall(f"DDD, {name} ({atc}, DDD {ddd:g} g)", "DDD")
    rows = connection.execute(
        f"select patient, given_time::date, grams, route, in_stay from dose where atc = '{atc}' and dose_unit = 'g' and grams is not null"
    ).fetchall()

    def total(kept: list[tuple[Any, ...]]) -> float:
        return float(sum(row[2] for row in kept)) / ddd

    waterfall.add("grams of product as charted / DDD", total(rows))
    routed = [row for row in rows if row[3] in ("intravenous", "intramuscular")]
    waterfall.add("doses without a route have no DDD (they are counted as doses_without_ddd)", total(routed))
    waterfall.add(
        "grams of the substance that the DDD counts (this hospital charts the product)", share * total(routed)
    )
    inside = [row for row in routed if row[4]]
    waterfall.add("given inside a stay", share * total(inside))
    waterfall.add("in covered months", share * total(_in_months(inside, covered)), _sum_of(published, "ddd", atc))
    return waterfall


# ------------------------------------------------------------------------------------------------ shown


def show(waterfalls: list[Waterfall], published: Published) -> None:
    """One table a figure; the last line says what the marts publish."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    for waterfall in waterfalls:
        table = Table(
            "choice", "number", "change", "marts", title=f"{waterfall.figure} ({waterfall.unit})", title_justify="left"
        )
        for column in table.columns[1:]:
            column.justify = "right"
        before: float | None = None
        for step in waterfall.steps:
            change = "" if before is None else f"{step.number - before:+,.2f}".removesuffix(".00")
            agrees = {None: "", True: " =", False: " DIFFERS"}[step.agrees]
            marts = "" if step.published is None else f"{step.published:,.2f}".removesuffix(".00") + agrees
            table.add_row(step.choice, f"{step.number:,.2f}".removesuffix(".00"), change, marts)
            before = step.number
        console.print(table)
    if published.where is None:
        console.print(f"The marts were not asked: {published.reason or 'left out'}.")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.mimic_iv_demo.compare", description=__doc__)
    parser.add_argument("--raw", type=Path, default=settings().real_data_path, help="the demo's folder")
    parser.add_argument("--raw-only", action="store_true", help="ask no platform for what it publishes")
    parser.add_argument("--json", action="store_true", help="for machines")
    given = parser.parse_args()
    published = Published(None if given.raw_only else settings())
    try:
        waterfalls = compare(given.raw, published)
    except EstuaireError as error:
        sys.stderr.write(f"{error.sentence()}\n")
        return 1
    if given.json:
        sys.stdout.write(json.dumps([asdict(w) for w in waterfalls], ensure_ascii=False, indent=1) + "\n")
    else:
        show(waterfalls, published)
    return int(any(step.agrees is False for w in waterfalls for step in w.steps))


if __name__ == "__main__":
    sys.exit(main())
