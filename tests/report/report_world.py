"""A ledger and a served release written by hand, with the columns that the marts have agreed on: what the report reads."""

# ruff: noqa: S311 - drawn for tests

from __future__ import annotations

import math
import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

from psycopg2.extensions import cursor
from psycopg2.extras import Json, execute_values

from estuaire.base.errors import ErrorFields, PublishFailed
from estuaire.base.settings import Settings
from estuaire.deliveries import confirmation
from estuaire.storage import error_columns

BEGAN = datetime(2026, 1, 12, 6, 0, tzinfo=UTC)
ROOT = "ingest-run-20260112T060000-000"
RUNS = {ROOT: "ingest_deliveries", "consolidate-1": "consolidate", "publish-1": "publish_marts"}
TABLES = ("patient", "stay", "movement", "diagnosis", "administration", "specimen", "isolate", "susceptibility")
SPECIES = {
    "E. coli": 900, "K. pneumoniae": 320, "P. aeruginosa": 210, "S. aureus": 400, "E. faecalis": 180, "P. mirabilis": 130,
    "E. cloacae": 110, "E. faecium": 60, "S. epidermidis": 90, "C. freundii": 34, "M. morganii": 22, "A. baumannii": 11,
}  # fmt: skip
AGENTS = {
    "AMX": "amoxicillin", "AMC": "amoxicillin and clavulanic acid", "TZP": "piperacillin and tazobactam", "CTX": "cefotaxime",
    "CAZ": "ceftazidime", "FEP": "cefepime", "IPM": "imipenem", "MEM": "meropenem", "GEN": "gentamicin", "AMK": "amikacin",
    "CIP": "ciprofloxacin", "SXT": "sulfamethoxazole and trimethoprim", "VAN": "vancomycin", "OXA": "oxacillin",
}  # fmt: skip
RELEASE = "release_id bigint, lake_snapshot bigint, built_at timestamptz, code_version text"
MART_COLUMNS = {
    "cumulative_antibiogram": "hospital_id text, dedup_scope text, method text, among text, year int, species text, species_name text, "
    "agent_code text, agent_name text, breakpoint_indication text, specimen_nature text, isolates bigint, tested bigint, susceptible bigint, "
    "increased_exposure bigint, intermediate bigint, resistant bigint, undetermined bigint, pct_resistant numeric, "
    "below_30 boolean",
    "antibiotic_consumption": "hospital_id text, month date, scope text, grouping text, item text, covered boolean, "
    "hospitals_covered int, hospitals_expected int, patient_days bigint, ddd numeric, ddd_per_1000_patient_days numeric, "
    "days_of_therapy bigint, length_of_therapy bigint, doses bigint, doses_without_ddd bigint, doses_unmapped bigint",
    "exposure_resistance": "effect text, exposure_atc text, organism_code text, agent_code text, exposure_source text, "
    "window_days int, excluded_last_days int, estimate text, strata_by text, strata int, odds_ratio numeric, ci_low numeric, "
    "ci_high numeric, index_isolates bigint, not_observable bigint",
    "coverage": "hospital_id text, month date, table_name text, records bigint, expected_median numeric, "
    "expected_spread numeric, month_share numeric, ratio numeric, status text, in_group boolean",
    "first_isolate": "isolate_key text, method text, dedup_scope text, hospital_id text, patient_key text",
    "release": "",
}


FAILED = PublishFailed("1 dbt nodes failed: test strata_add_up (3 rows)", remedy="read the log").fields


def _refusal(hospital: str, delivery: str) -> ErrorFields:
    what, remedy = "its bytes are not those of the manifest", "deliver the file again"
    return ErrorFields("E_CHECKSUM", what, remedy, hospital, delivery, file="isolate.csv")


def months(count: int) -> list[date]:
    """The last ``count`` calendar months before January 2026."""
    return [date(2026 + (k := -count + i) // 12, k % 12 + 1, 1) for i in range(count)]


def empty(cur: cursor) -> None:
    """No run, no release, no mart."""
    cur.execute("select nspname from pg_namespace where nspname ~ '^(marts|conformed)'")
    for (schema,) in cur.fetchall():
        cur.execute(f"drop schema {schema} cascade")
    cur.execute("create schema marts; grant usage on schema marts to analyst")
    cur.execute(
        "truncate control.release, control.run, control.delivery, control.load, control.rejected_record, quality.result, "
        "quality.verdict cascade"
    )


def ledger(cur: cursor, hospitals: list[str], *, state: str = "success", blocked: str = "") -> None:
    """One chain over the hospitals; ``blocked`` is a hospital whose delivery was refused."""
    draw = random.Random(7)
    for i, (run, dag) in enumerate(RUNS.items()):
        failed = state == "failed" and dag == "publish_marts"
        cur.execute(
            "insert into control.run (run_id, dag_id, state, started_at, ended_at, parent_run_id, "
            f"{error_columns.COLUMNS}) values (%s, %s, %s, %s, %s, %s, {error_columns.MARKS})",
            (run, dag, "failed" if failed else "success", BEGAN + timedelta(minutes=4 * i),
             BEGAN + timedelta(minutes=4 * i + 4), None if i == 0 else ROOT,
             *error_columns.values(FAILED if failed else None)),
        )  # fmt: skip
    stages = [(ROOT, "land", 211, 380), ("consolidate-1", "consolidate", 60, 95), ("consolidate-1", "load", 34, 51)]
    stages += [("publish-1", "publish", 48, 44)]
    for i, (run, stage, seconds, cpu) in enumerate(stages):
        cur.execute(
            "insert into control.stage_run (run_id, stage, token, state, started_at, ended_at, seconds, cpu_seconds, "
            f"peak_memory_bytes, rows, snapshot_id, {error_columns.COLUMNS}) "
            f"values (%s, %s, 1, %s, %s, %s, %s, %s, %s, %s, 4, {error_columns.MARKS})",
            (run, stage, "failed" if state == "failed" and stage == "publish" else "committed",
             BEGAN + timedelta(minutes=4 * i), BEGAN + timedelta(minutes=4 * i + 3), seconds, cpu, 480 * 2**20, 5_412_003,
             *error_columns.values(FAILED if state == "failed" and stage == "publish" else None)),
        )  # fmt: skip
    results, verdicts, accounts, rejected = [], [], [], []
    for hospital in hospitals:
        cur.execute(
            "insert into control.load (hospital_id, content_hash, run_id) values (%s, 'x', %s)", (hospital, ROOT)
        )
        for k, (delivery, kind) in enumerate((("2025-10-full", "full"), ("2025-12-delta", "delta"))):
            refused = hospital == blocked and k == 1
            files = [
                {
                    "table": t,
                    "rows": draw.randrange(900, 90_000) // (1 + 9 * k),
                    "bytes": draw.randrange(10**5, 9 * 10**6),
                }
                for t in TABLES
            ]
            cur.execute(
                "insert into control.delivery (hospital_id, delivery_id, sequence, kind, period_from, period_to, content_hash, "
                f"manifest, state, {error_columns.COLUMNS}, run_id, snapshot_id) "
                f"values (%s, %s, %s, %s, '2021-01-01', '2025-12-31', 'x', %s, %s, {error_columns.MARKS}, %s, 4)",
                (hospital, delivery, k + 1, kind, Json({"files": files}), "blocked" if refused else "landed",
                 *error_columns.values(_refusal(hospital, delivery) if refused else None), ROOT),
            )  # fmt: skip
            share = draw.choice([0, 0, 0.0004, 0.0004, 0.002])
            broken = draw.randrange(0, 300)
            named = broken > 90 and draw.random() < 0.2
            reasons = [f"administration.dose.with_unit: {broken} of 9000"] if named else []
            reasons += ["90 of 45000 records rejected (0.200%)"] if share > 0.001 else []
            verdict = "block" if refused else "warn" if reasons else "pass"
            verdicts.append((ROOT, "landed", hospital, delivery, verdict, "; ".join(reasons)))
            for f in files:
                aside = round(f["rows"] * share)
                if not refused:
                    accounts.append(
                        (
                            ROOT,
                            "land",
                            1,
                            hospital,
                            delivery,
                            f["table"],
                            f["rows"],
                            f["rows"] - aside,
                            aside,
                            0,
                            0,
                            9,
                            9,
                            0,
                            0,
                            0,
                        )
                    )
                results.append(
                    (ROOT, "landed", hospital, delivery, f["table"], f"{f['table']}.patient_id.required", 1, "completeness",
                     "error", "quarantine", "fail" if aside else "pass", f["rows"], aside, 0.0, None)
                )  # fmt: skip
                rejected += [
                    (hospital, delivery, f["table"], f"{f['table']}.csv", n, f"{f['table']}.patient_id.required")
                    for n in range(min(aside, 6))
                ]
            results.append(
                (ROOT, "landed", hospital, delivery, "administration", "administration.dose.with_unit", 1, "completeness", "warning",
                 "warn", "fail" if broken > 90 else "pass", 9_000, broken, 0.01, "warn" if named else None)
            )  # fmt: skip
        for stage in ("consolidated", "conformed"):
            verdicts.append(("consolidate-1", stage, hospital, "*", "warn" if draw.random() < 0.08 else "pass", ""))
    verdicts.append(("publish-1", "marts", "*", "*", "block" if state == "failed" else "pass", ""))
    execute_values(
        cur,
        "insert into quality.verdict (run_id, stage, hospital_id, delivery_id, verdict, reasons) values %s",
        verdicts,
    )
    execute_values(
        cur,
        "insert into quality.result (run_id, stage, hospital_id, delivery_id, table_name, rule_id, rule_version, category, severity, "
        "action, status, rows_checked, rows_failed, threshold, decided) values %s",
        results,
    )
    execute_values(
        cur,
        "insert into control.accounting (run_id, stage, token, hospital_id, delivery_id, table_name, rows_in, rows_out, "
        "rows_quarantined, rows_superseded, rows_unparseable, hash_in, hash_out, hash_quarantined, hash_superseded, "
        "hash_unparseable) values %s",
        accounts,
    )
    execute_values(
        cur,
        "insert into control.rejected_record (hospital_id, delivery_id, table_name, file, record_number, rule_ids, line_number, "
        "byte_offset, byte_length, row_uid_hi, row_uid_lo, disposition, columns, sequence, run_id) values %s",
        [(*r, r[4], 0, 10, r[4], r[4], "quarantined", "patient_id", 1, ROOT) for r in rejected],
    )


def held(cur: cursor, settings: Settings, hospital: str) -> None:
    """The hospital's second delivery waits for a confirmation: it would end half of its stays and all but one of its isolates."""
    ends = {"stay": (500, 1000), "isolate": (1233, 1234), "unit": (0, 3), "patient": (1, 100)}
    error = confirmation.held(settings, hospital, "2025-12-delta", ends)
    place = (hospital, "2025-12-delta")
    cur.execute(
        f"update control.delivery set state = 'held', kind = 'full', {error_columns.SET} where (hospital_id, delivery_id) = %s",
        (*error_columns.values(error.fields), place),
    )
    confirmation.note_ends(cur, *place, ends)
    cur.execute(
        f"update quality.verdict set verdict = 'block', reasons = '', {error_columns.SET} where (hospital_id, delivery_id) = %s",
        (*error_columns.values(error.fields), place),
    )
    cur.execute("delete from control.accounting where (hospital_id, delivery_id) = %s", (place,))


def released(cur: cursor, hospitals: list[str], *, count: int = 60, number: int = 12, run: str = "publish-1") -> None:
    """The marts of release ``number``."""
    cur.execute(
        "insert into control.release (release_id, run_id, snapshot_id, code_version, built_at, state, input_hash) overriding "
        "system value values (%s, %s, 4, '0.1.0+abc', %s, 'published', 'x')",
        (number, run, BEGAN + timedelta(minutes=9)),
    )
    lineage = (number, 4, BEGAN + timedelta(minutes=9), "0.1.0+abc")
    content = {
        "cumulative_antibiogram": _antibiogram(), "antibiotic_consumption": _consumption(hospitals, months(count)),
        "exposure_resistance": _exposure(), "coverage": _coverage(hospitals, months(count)), "release": [()],
        "first_isolate": [("i-1", "all", "group", "h01", "PATIENT-KEY-CANARY")],
    }  # fmt: skip
    for mart, columns in MART_COLUMNS.items():
        cur.execute(f"create table marts.{mart} ({', '.join(filter(None, (columns, RELEASE)))})")
        width = len(columns.split(", ")) if columns else 0
        padded = [(*row, *(None,) * (width - len(row)), *lineage) for row in content[mart]]
        execute_values(cur, f"insert into marts.{mart} values %s", padded)
    cur.execute("grant select on all tables in schema marts to analyst")


def _antibiogram() -> list[tuple[Any, ...]]:
    draw = random.Random(3)
    rows = []
    for i, (species, volume) in enumerate(SPECIES.items()):
        for j, (code, name) in enumerate(AGENTS.items()):
            if draw.random() < 0.22:
                continue
            share = min(0.98, max(0.0, draw.gauss((0.45 - 0.03 * j) * (1 + i % 3) / 2, 0.15)))
            for year in (2023, 2024, 2025):
                tested = max(1, round(volume * draw.uniform(0.7, 1.1)))
                resistant = round(tested * share)
                below = tested < 30
                for hospital, scope in (("group", "group"), ("h01", "hospital"), ("h38", "hospital")):
                    rows.append(
                        (hospital, scope, "m39", "tested", year, species, species, code, name, "general", "all", volume, tested, tested - resistant, 0, 0,
                         resistant, 0, None if below else 100 * resistant / tested, below)
                    )  # fmt: skip
    return rows


def _consumption(hospitals: list[str], over: list[date]) -> list[tuple[Any, ...]]:
    draw = random.Random(5)
    level = {h: draw.gauss(330, 70) for h in hospitals}
    rows = []
    for i, month in enumerate(over):
        season = 18 * math.cos(2 * math.pi * (month.month - 1) / 12) - 0.6 * i
        for h in hospitals:
            covered = not (h == hospitals[-1] and i < 20)
            rate = level[h] + season + draw.gauss(0, 22) if covered else None
            days = round(rate) if covered else None
            rows.append((h, month, "spares", "total", "all", covered, 1, 1, 1000, rate, rate, days, days and days // 2))
            if (
                h in hospitals[:2]
            ):  # 1 of 100 doses of the first has no DDD, 2 of the second; each has a dose without a code
                counted = (100, 1 + hospitals.index(h), 1)
                rows.append(
                    (
                        h,
                        month,
                        "all",
                        "total",
                        "all",
                        covered,
                        1,
                        1,
                        1000,
                        rate,
                        rate,
                        days,
                        days and days // 2,
                        *counted,
                    )
                )
        mean = sum(level.values()) / len(level) + season
        expected = len(hospitals)
        rows.append(
            (
                "group",
                month,
                "spares",
                "total",
                "all",
                True,
                expected - (i < 20),
                expected,
                37_000,
                mean * 37,
                mean,
                9,
                9,
            )
        )
        for name, share in (("Access", 0.55), ("Watch", 0.38), ("Reserve", 0.04), ("unclassified", 0.03)):
            value = mean * share + draw.gauss(0, 3 * share)
            rows.append(
                ("group", month, "spares", "aware", name, True, expected, expected, 37_000, value * 37, value, 9, 9)
            )
    return rows


def _exposure() -> list[tuple[Any, ...]]:
    rows = []
    for effect, atc, agent, crude, adjusted in (
        ("fluoroquinolone_ciprofloxacin", "J01MA", "CIP", 3.31, 2.43),
        ("third_generation_cephalosporin_cefotaxime", "J01DD", "CTX", 4.02, 3.11),
    ):
        for window, excluded, drift in ((90, 0, 0.0), (30, 0, 0.2), (180, 0, -0.1), (365, 0, -0.3), (90, 3, -0.15)):
            for estimate, value in (("crude", crude + drift), ("mantel_haenszel", adjusted + drift)):
                rows.append(
                    (effect, atc, "112283007", agent, "hospital_only", window, excluded, estimate, "ward, indication",
                     1 if estimate == "crude" else 4, value, value / 1.45, value * 1.45, 2_310, 184)
                )  # fmt: skip
    return rows


def _coverage(hospitals: list[str], over: list[date]) -> list[tuple[Any, ...]]:
    draw = random.Random(11)
    rows = []
    for h in hospitals:
        for i, month in enumerate(over):
            for table in TABLES:
                chance = draw.random()
                status = "no_reference" if i < 6 else "zero" if chance > 0.9995 else "low" if chance > 0.997 else "ok"
                status = "high" if chance < 0.003 and i >= 6 else status
                rows.append((h, month, table, 100, 101.5, 0.1, 1, 0.98, status, h != hospitals[-1]))
    return rows
