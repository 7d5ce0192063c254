"""Gate 2: may a hospital's consolidated files enter the lake?

Where a hospital is consolidated, DuckDB counts each rule over the files just written, and Arrow (no SQL at all) the rows beyond the first of
a key: a shuffle of twelve million keys in Spark would cost more than all else together. Great Expectations then counts the row rules again
through Spark, and judges Arrow's count of the keys; both counts must agree, or the gate errors. Verdict per hospital: a blocked one is not
committed, its former files stay referenced.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2.extensions import cursor as Cursor

from estuaire.base.errors import EstuaireError, GateBlocked
from estuaire.base.sql import Sql, Statements, literal
from estuaire.contract.registry import Registry
from estuaire.gates import docs, each_alone
from estuaire.gates.gx import breaks, frame_of_files
from estuaire.gates.results import WHOLE, Result, decisions, verdict, word, write_results, write_verdict
from estuaire.rules.rule_registry import Rule, load_rules
from estuaire.storage.platform import Platform

STAGE = "consolidated"
STATEMENTS = Statements(Path(__file__).parent / "sql")


def count(path: str, table: str, shifted: Collection[str] = ()) -> dict[str, list[int]]:
    """Rule id -> [rows checked, rows that break it, of unique rules as Arrow counts them], over one hospital's file of a table."""
    rules = load_rules(STAGE)[table]
    counted = [{"unique": r.unique, "holds": Sql("" if r.unique else r.sql("duckdb", shifted))} for r in rules]
    query = STATEMENTS("counted", counted=counted, path=literal(path))
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("set timezone = 'UTC'")
        row = connection.execute(query).fetchone()
    assert row is not None  # noqa: S101 - an aggregate always gives one row
    counts = {}
    for i, rule in enumerate(rules):
        counts[rule.id] = [int(row[2 * i + 1]), int(row[2 * i + 2])]
        if rule.unique:
            counts[rule.id].append(_beyond_first(path, rule.unique))
    return counts


def _beyond_first(path: str, key: Sequence[str]) -> int:
    columns: pa.Table = pq.read_table(path, columns=list(key), partitioning=None)
    return int(columns.num_rows - columns.group_by(list(key), use_threads=False).aggregate([]).num_rows)


@dataclass
class Finding:
    """What the audit found for one hospital."""

    hospital: str
    results: list[Result] = field(default_factory=list)
    keys: dict[str, list[int]] = field(default_factory=dict)  # unique rule -> rows beyond the first of a key, by Arrow

    def verdict(self) -> tuple[str, list[str]]:
        """(pass, warn or block, reasons)."""
        block, warn = verdict(self.results)
        return word(block, warn), block + warn


@dataclass
class Audit:
    """Findings per hospital, per rule the totals on which Great Expectations counted, and the keys of the files that could not be read
    back, of hospitals without a finding."""

    findings: dict[str, Finding]
    totals: list[Result]
    unread: dict[str, list[str]] = field(default_factory=dict)

    @property
    def blocked(self) -> dict[str, GateBlocked]:
        """The typed error of each hospital that may not be committed."""
        errors = {}
        for hospital, finding in self.findings.items():
            decided, reasons = finding.verdict()
            if decided == "block":
                errors[hospital] = GateBlocked(
                    f"its consolidated records did not pass: {'; '.join(reasons)}",
                    hospital=hospital,
                    remedy="correct the cause that the rules name (a corrected delivery, a code map); the next run takes it up. "
                    "Until then the hospital's former records stay in use",
                )
        return errors


def audit(platform: Platform, spark: Any, run_id: str, outcomes: Mapping[str, list[dict[str, Any]]]) -> Audit:
    """Audit the files of each rebuilt hospital before they are registered. One whose files cannot be read back has no finding; where
    counts differ, each hospital is counted by itself, to tell whose do.

    Args:
        outcomes: hospital -> what each of its tables gave: ``table``, ``output`` (store key), ``checks`` (see ``count``).
    """
    rules = load_rules(STAGE)
    shifted = shifted_hospitals(platform.registry)
    store = platform.store
    findings = {hospital: _finding(hospital, tables, rules) for hospital, tables in outcomes.items()}

    def frames_of(hospitals: Collection[str]) -> each_alone.Frames:
        urls: dict[str, list[str]] = {}
        for outcome in (o for h in hospitals for o in outcomes[h]):
            urls.setdefault(outcome["table"], []).append(store.url(outcome["output"]))
        frames: dict[str, tuple[Callable[[], Any], Sequence[Rule]]] = {}
        for table, files in urls.items():
            by_row = [r for r in rules[table] if not r.unique]
            columns = [f"{breaks(r.sql('spark', shifted))} as {r.mark}" for r in by_row]
            frames[table] = (partial(frame_of_files, spark, files, columns), by_row)
        by_key = [r for table in urls for r in rules[table] if r.unique]
        if by_key:
            arrow = {r.id: [n for h in hospitals for n in findings[h].keys.get(r.id, ())] for r in by_key}
            frames["keys"] = (partial(_key_frame, spark, by_key, arrow), by_key)
        return frames

    keys = {hospital: [o["output"] for o in tables] for hospital, tables in outcomes.items()}
    counted = each_alone.counted(store, keys, frames_of)
    for hospital in counted.unread:
        del findings[hospital]
    totals = []
    for table in dict.fromkeys(r.table for f in findings.values() for r in f.results):
        by_hospital = {
            hospital: {r.rule.id: r for r in finding.results if r.table == table}
            for hospital, finding in findings.items()
        }
        for name, of_frame in (
            (table, [r for r in rules[table] if not r.unique]),
            ("keys", [r for r in rules[table] if r.unique]),
        ):
            totals += each_alone.compared(table, of_frame, counted.counts.get(name, {}), by_hospital, frames_of, name)
    docs.write(platform.settings, run_id, STAGE, counted.suites.results)
    return Audit(findings, totals, counted.unread)


def _finding(hospital: str, tables: list[dict[str, Any]], rules: Mapping[str, tuple[Rule, ...]]) -> Finding:
    """What was counted natively of a hospital."""
    finding = Finding(hospital)
    for outcome in tables:
        table = outcome["table"]
        for rule in rules[table]:
            checked, failed, *beyond_first = outcome["checks"][rule.id]
            finding.results.append(Result(table, rule, checked, failed))
            if beyond_first:
                finding.keys.setdefault(rule.id, []).extend(beyond_first)
    return finding


def _key_frame(spark: Any, rules: Sequence[Rule], arrow: Mapping[str, list[int]]) -> Any:
    """One row per hospital, one column per unique rule: rows beyond the first of their key, as Arrow counted them."""
    longest = max(len(arrow[r.id]) for r in rules)
    rows = [tuple((arrow[r.id] + [0] * longest)[i] for r in rules) for i in range(longest)]
    return spark.createDataFrame(rows, ", ".join(f"{r.mark} bigint" for r in rules))


def shifted_hospitals(registry: Registry) -> list[str]:
    """Hospitals of the registry whose dates are not the true ones."""

    return sorted(h.id for h in registry.hospitals.values() if h.calendar == "shifted")


def write_block(cursor: Cursor, run_id: str, hospital: str, error: EstuaireError) -> None:
    """The verdict of a hospital that could not be consolidated at all."""
    write_verdict(cursor, run_id, STAGE, (hospital, WHOLE), "block", error=error.fields)


def write(cursor: Cursor, run_id: str, audited: Audit) -> None:
    """Write results and verdicts in the caller's transaction."""
    write_results(cursor, run_id, STAGE, (WHOLE, WHOLE), audited.totals)
    blocked = audited.blocked
    for hospital, finding in audited.findings.items():
        write_results(cursor, run_id, STAGE, (hospital, WHOLE), finding.results, decisions(finding.results))
        decided, reasons = finding.verdict()
        error = blocked[hospital].fields if hospital in blocked else None
        write_verdict(cursor, run_id, STAGE, (hospital, WHOLE), decided, reasons, error)
