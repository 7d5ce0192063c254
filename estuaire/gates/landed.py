"""Gate 1: may a delivery enter the lake?

The kernel counted each rule natively while it landed the files. Here Great Expectations counts the same rules again, on what was
really written, through another engine (Spark reads the rule's expression as sqlglot translates it): both counts must agree, or the gate
errors, for the deliveries in whose files they differ. Verdict per delivery: block above 1 % of rejected records or a broken ``fail`` rule, warn above 0.1 % or above a rule's own
threshold, else pass (docs/domain/quality.md).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from psycopg2.extensions import cursor as Cursor

from estuaire.base.errors import EstuaireError, GateBlocked, TooManyRejected
from estuaire.contract.manifest import Manifest
from estuaire.contract.tables import load_contract
from estuaire.gates import docs, each_alone
from estuaire.gates.gx import breaks, frame_of_files
from estuaire.gates.results import WHOLE, Result, decisions, verdict, word, write_results, write_verdict
from estuaire.rules.rule_registry import Rule, load_rules
from estuaire.storage.platform import Platform

STAGE = "landed"
Place = tuple[str, str]  # (hospital, delivery)
WARN_REJECTED, BLOCK_REJECTED = 0.001, 0.01


@dataclass
class Finding:
    """What the audit found for one delivery."""

    hospital: str
    delivery: str
    rows_in: int = 0
    rows_rejected: int = 0
    results: list[Result] = field(default_factory=list)
    extra_columns: list[str] = field(
        default_factory=list
    )  # <table> <number of the column>, no names: they come from outside
    doubtful: int = 0

    @property
    def rejected_share(self) -> float:
        return self.rows_rejected / self.rows_in if self.rows_in else 0.0

    def of_table(self, table: str) -> dict[str, Result]:
        """Its results on one table, by rule."""
        return {r.rule.id: r for r in self.results if r.table == table}

    def verdict(self) -> tuple[str, list[str]]:
        """(pass, warn or block, reasons)."""
        block, warn = verdict(self.results)
        share = f"{self.rows_rejected} of {self.rows_in} records rejected ({self.rejected_share:.3%})"
        if self.rejected_share > BLOCK_REJECTED:
            block.append(share)
        elif self.rejected_share > WARN_REJECTED:
            warn.append(share)
        if self.extra_columns:
            warn.append(
                "columns outside the contract, ignored (number in the file): "
                + ", ".join(sorted(set(self.extra_columns)))
            )
        if self.doubtful:
            warn.append(f"{self.doubtful} records over several lines whose quotes may be strays")
        return word(block, warn), block + warn


@dataclass
class Audit:
    """Findings per (hospital, delivery), per rule the totals on which Great Expectations counted too, and the keys of the files that
    could not be read back, of deliveries without a finding."""

    findings: dict[Place, Finding]
    totals: list[Result]
    unread: dict[Place, list[str]] = field(default_factory=dict)


def _columns(table: str, rules: tuple[Rule, ...]) -> list[str]:
    key = load_contract().table(table).key
    columns = []
    for rule in rules:
        always = rule.implied and rule.columns[0] in key
        applies = "" if always else "op = 'delete' or "
        columns.append(f"{breaks(applies + rule.sql('spark'))} as {rule.mark}")
    return columns


def audit(platform: Platform, spark: Any, run_id: str, landed: list[tuple[Manifest, list[Any]]]) -> Audit:
    """Audit the files of each delivery (manifest, file outcomes) before they are registered. One whose files cannot be read back has no
    finding; where counts differ, each delivery is counted by itself, to tell whose do."""
    rules = load_rules("landed")
    store = platform.store
    files_of = {(manifest.hospital, manifest.delivery_id): files for manifest, files in landed}
    findings = {place: _finding(place, files, rules) for place, files in files_of.items()}

    def frames_of(places: Collection[Place]) -> each_alone.Frames:
        urls: dict[str, list[str]] = {}
        for file in (f for place in places for f in files_of[place] if f.output is not None):
            urls.setdefault(file.table, []).append(store.url(file.output))
        return {
            table: (partial(frame_of_files, spark, files, _columns(table, rules[table])), rules[table])
            for table, files in urls.items()
        }

    keys = {place: [f.output for f in files if f.output is not None] for place, files in files_of.items()}
    counted = each_alone.counted(store, keys, frames_of)
    for place in counted.unread:
        del findings[place]
    totals: list[Result] = []
    for table in dict.fromkeys(r.table for f in findings.values() for r in f.results):
        # no accepted record of this table in any delivery: nothing was written to count
        counts = counted.counts.get(table, dict.fromkeys((r.id for r in rules[table]), 0))
        by_place = {place: f.of_table(table) for place, f in findings.items()}
        totals += each_alone.compared(table, rules[table], counts, by_place, frames_of, table)
    docs.write(platform.settings, run_id, STAGE, counted.suites.results)
    return Audit(findings, totals, counted.unread)


def _finding(place: Place, files: list[Any], rules: Mapping[str, tuple[Rule, ...]]) -> Finding:
    """What the kernel counted of a delivery."""
    finding = Finding(*place)
    totals: dict[tuple[str, str], list[int]] = {}
    for file in files:
        finding.rows_in += file.rows_in
        finding.rows_rejected += file.rows_quarantined + file.rows_unparseable
        finding.extra_columns += [f"{file.table} {number}" for number in file.extra_columns]
        finding.doubtful += file.doubtful
        for rule_id, counts in file.checks.items():
            total = totals.setdefault((file.table, rule_id), [0, 0, 0])
            for i, value in enumerate(counts):
                total[i] += value
    for table in dict.fromkeys(f.table for f in files):
        for rule in rules[table]:
            checked, failed, accepted = totals.get((table, rule.id), [0, 0, 0])
            finding.results.append(Result(table, rule, checked, failed, accepted))
    return finding


def write_block(cursor: Cursor, run_id: str, place: tuple[str, str], error: EstuaireError) -> None:
    """The verdict of a delivery that could not be read at all."""
    write_verdict(cursor, run_id, STAGE, place, "block", error=error.fields)


def write_totals(cursor: Cursor, run_id: str, totals: list[Result]) -> None:
    """Per rule the totals of the run, as hospital and delivery ``*``: accepted rows that break it, by both engines."""
    write_results(cursor, run_id, STAGE, (WHOLE, WHOLE), totals)


def write(cursor: Cursor, run_id: str, finding: Finding) -> EstuaireError | None:
    """Write results and verdict in the caller's transaction; the error of a blocked delivery, else None."""
    landed = (finding.hospital, finding.delivery)
    write_results(cursor, run_id, STAGE, landed, finding.results, decisions(finding.results))
    decided, reasons = finding.verdict()
    error = _blocked(finding, reasons) if decided == "block" else None
    write_verdict(cursor, run_id, STAGE, landed, decided, reasons, None if error is None else error.fields)
    return error


def _blocked(finding: Finding, reasons: list[str]) -> EstuaireError:
    place = {"hospital": finding.hospital, "delivery": finding.delivery}
    if finding.rejected_share > BLOCK_REJECTED:
        return TooManyRejected(
            f"{finding.rows_rejected} of {finding.rows_in} records rejected ({finding.rejected_share:.2%}, "
            f"the limit is {BLOCK_REJECTED:.0%})",
            remedy=f"look at the rejected records (`estuaire rejected {finding.hospital}/{finding.delivery}`), correct the extract and deliver it again",
            **place,
        )
    return GateBlocked(
        "; ".join(reasons), remedy="look at the rules named, correct the extract and deliver it again", **place
    )
