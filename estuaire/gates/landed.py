"""Gate 1: may a delivery enter the lake?

The kernel counted each rule natively while it landed the files. Here Great Expectations counts the same rules again, on what was
really written, through another engine (Spark reads the rule's expression as sqlglot translates it): both counts must agree, or the gate
errors. Verdict per delivery: block above 1 % of rejected records or a broken ``fail`` rule, warn above 0.1 % or above a rule's own
threshold, else pass (domain.md section 5).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import execute_values

from estuaire.errors import EstuaireError, GateBlocked, TooManyRejected
from estuaire.gates.gx import count_broken
from estuaire.manifest import Manifest
from estuaire.objectstore import open_store
from estuaire.rules import Rule, load_rules
from estuaire.settings import Settings

STAGE = "landed"
WARN_REJECTED, BLOCK_REJECTED = 0.001, 0.01


@dataclass
class Result:
    """One rule on one table of one delivery. ``rows_failed`` counts all records, ``accepted_failed`` those written."""

    table: str
    rule: Rule
    rows_checked: int
    rows_failed: int
    accepted_failed: int
    gx_failed: int | None = None
    gx_agrees: bool = False

    @property
    def status(self) -> str:
        if not self.gx_agrees:
            return "error"
        limit = self.rows_checked * self.rule.threshold
        if self.rule.action == "quarantine":
            return "pass" if self.rows_failed == 0 else "fail"
        return "pass" if self.rows_failed <= limit else "fail"


@dataclass
class Finding:
    """What the audit found for one delivery."""

    hospital: str
    delivery: str
    rows_in: int = 0
    rows_rejected: int = 0
    results: list[Result] = field(default_factory=list)
    extra_columns: list[str] = field(default_factory=list)

    @property
    def rejected_share(self) -> float:
        return self.rows_rejected / self.rows_in if self.rows_in else 0.0

    def verdict(self) -> tuple[str, list[str]]:
        """(pass, warn or block, reasons)."""
        block, warn = [], []
        for result in self.results:
            if result.status == "error":
                block.append(f"{result.rule.id}: Great Expectations and the native count differ")
            elif result.status == "fail" and result.rule.action == "fail":
                block.append(f"{result.rule.id}: {result.rows_failed} of {result.rows_checked}")
            elif result.status == "fail" and result.rule.action == "warn" and result.rule.severity != "info":
                warn.append(f"{result.rule.id}: {result.rows_failed} of {result.rows_checked}")
        share = f"{self.rows_rejected} of {self.rows_in} records rejected ({self.rejected_share:.3%})"
        if self.rejected_share > BLOCK_REJECTED:
            block.append(share)
        elif self.rejected_share > WARN_REJECTED:
            warn.append(share)
        if self.extra_columns:
            warn.append("columns outside the contract, ignored: " + ", ".join(sorted(set(self.extra_columns))))
        return ("block" if block else "warn" if warn else "pass"), block + warn


@dataclass
class Audit:
    """Findings per (hospital, delivery), and per rule the totals on which Great Expectations counted too."""

    findings: dict[tuple[str, str], Finding]
    totals: list[Result]


def audit(settings: Settings, spark: Any, run_id: str, landed: list[tuple[Manifest, list[Any]]]) -> Audit:
    """Audit the files of each delivery (manifest, file outcomes) before they are registered."""
    rules = load_rules("landed")
    findings: dict[tuple[str, str], Finding] = {}
    totals_of_rules: list[Result] = []
    by_table: dict[str, list[str]] = {}
    store = open_store(settings)
    for manifest, files in landed:
        finding = Finding(manifest.hospital, manifest.delivery_id)
        findings[finding.hospital, finding.delivery] = finding
        totals: dict[tuple[str, str], list[int]] = {}
        for file in files:
            finding.rows_in += file.rows_in
            finding.rows_rejected += file.rows_quarantined + file.rows_unparseable
            finding.extra_columns += file.extra_columns
            for rule_id, counts in file.checks.items():
                total = totals.setdefault((file.table, rule_id), [0, 0, 0])
                for i, value in enumerate(counts):
                    total[i] += value
            if file.output is not None:
                by_table.setdefault(file.table, []).append(store.url(file.output))
        for table in dict.fromkeys(f.table for f in files):
            for rule in rules[table]:
                checked, failed, accepted = totals.get((table, rule.id), [0, 0, 0])
                finding.results.append(Result(table, rule, checked, failed, accepted))
    for table in dict.fromkeys(r.table for f in findings.values() for r in f.results):
        # no accepted record of this table in any delivery: nothing was written to count
        counted: dict[str, int | None] = dict.fromkeys((r.id for r in rules[table]), 0)
        if table in by_table:
            counted = count_broken(spark, by_table[table], table, rules[table])
        of_table = [r for f in findings.values() for r in f.results if r.table == table]
        for rule in rules[table]:
            same_rule = [r for r in of_table if r.rule.id == rule.id]
            # one suite an entity: Great Expectations counts over all deliveries, the native counts are summed to compare
            agree = counted[rule.id] == sum(r.accepted_failed for r in same_rule)
            for result in same_rule:
                result.gx_agrees = agree
            if same_rule:
                rule_total = Result(
                    table,
                    rule,
                    sum(r.rows_checked for r in same_rule),
                    sum(r.rows_failed for r in same_rule),
                    sum(r.accepted_failed for r in same_rule),
                    counted[rule.id],
                    agree,
                )
                totals_of_rules.append(rule_total)
    return Audit(findings, totals_of_rules)


def _write_verdict(cursor: Cursor, run_id: str, place: tuple[str, str], verdict: str, reasons: str) -> None:
    cursor.execute(
        "insert into quality.verdict (run_id, stage, hospital_id, delivery_id, verdict, reasons) "
        "values (%s, %s, %s, %s, %s, %s) on conflict (run_id, stage, hospital_id, delivery_id) "
        "do update set verdict = excluded.verdict, reasons = excluded.reasons",
        (run_id, STAGE, *place, verdict, reasons),
    )


def write_block(cursor: Cursor, run_id: str, place: tuple[str, str], error: EstuaireError) -> None:
    """The verdict of a delivery that could not be read at all."""
    _write_verdict(cursor, run_id, place, "block", error.sentence())


def _write_results(cursor: Cursor, run_id: str, hospital: str, delivery: str, results: list[Result]) -> None:
    execute_values(
        cursor,
        "insert into quality.result (run_id, stage, hospital_id, delivery_id, table_name, rule_id, rule_version, category, "
        "severity, action, status, rows_checked, rows_failed, rows_failed_gx, threshold) values %s "
        "on conflict (run_id, stage, hospital_id, delivery_id, table_name, rule_id) do update set status = excluded.status, "
        "rows_checked = excluded.rows_checked, rows_failed = excluded.rows_failed, rows_failed_gx = excluded.rows_failed_gx",
        [
            (
                run_id, STAGE, hospital, delivery, r.table, r.rule.id, r.rule.version, r.rule.category,
                r.rule.severity, r.rule.action, r.status, r.rows_checked, r.rows_failed, r.gx_failed, r.rule.threshold,
            )
            for r in results
        ],
    )  # fmt: skip


def write_totals(cursor: Cursor, run_id: str, totals: list[Result]) -> None:
    """Per rule the totals of the run, as hospital and delivery ``*``: accepted rows that break it, by both engines."""
    _write_results(cursor, run_id, "*", "*", totals)


def write(cursor: Cursor, run_id: str, finding: Finding) -> EstuaireError | None:
    """Write results and verdict in the caller's transaction; the error of a blocked delivery, else None."""
    _write_results(cursor, run_id, finding.hospital, finding.delivery, finding.results)
    verdict, reasons = finding.verdict()
    _write_verdict(cursor, run_id, (finding.hospital, finding.delivery), verdict, "; ".join(reasons))
    if verdict != "block":
        return None
    place = {"hospital": finding.hospital, "delivery": finding.delivery}
    if finding.rejected_share > BLOCK_REJECTED:
        return TooManyRejected(
            f"{finding.rows_rejected} of {finding.rows_in} records rejected ({finding.rejected_share:.2%}, "
            f"the limit is {BLOCK_REJECTED:.0%})",
            remedy="look at the rejected records (`estuaire accounting`), correct the extract and deliver it again",
            **place,
        )
    return GateBlocked(
        "; ".join(reasons), remedy="look at the rules named, correct the extract and deliver it again", **place
    )
