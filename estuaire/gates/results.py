"""What a gate finds and decides, alike at every stage: a result per rule and place, a verdict over results, and their rows in ``quality``.

Counts only: no result, reason or error holds a row's value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import execute_values

from estuaire.base.errors import ErrorFields
from estuaire.rules.rule_registry import Rule
from estuaire.storage import error_columns

WHOLE = "*"  # hospital or delivery of a row about all of them


@dataclass
class Result:
    """One rule on one table, of a delivery, a hospital or all.

    Attributes:
        rows_checked: rows to which the rule applies; 0 makes it not_applicable.
        rows_failed: those that break it, natively counted.
        written_failed: of them those in the written files (landing counts rejected ones, too); None means all.
        gx_failed: what Great Expectations counted, on a result over everything that was audited.
        gx_agrees: whether that is what was counted natively.
    """

    table: str
    rule: Rule
    rows_checked: int
    rows_failed: int
    written_failed: int | None = None
    gx_failed: int | None = None
    gx_agrees: bool = False

    @property
    def in_files(self) -> int:
        return self.rows_failed if self.written_failed is None else self.written_failed

    @property
    def status(self) -> str:
        """pass, fail, error or not_applicable."""
        if not self.gx_agrees:
            return "error"
        if self.rows_checked == 0:
            return "not_applicable"
        if self.rule.action == "quarantine":
            return "pass" if self.rows_failed == 0 else "fail"
        return "pass" if self.rows_failed <= self.rows_checked * self.rule.threshold else "fail"

    @property
    def blocks(self) -> bool:
        """Whether this result alone stops the stage: engines that disagree, or a share above what blocks, of enough rows."""
        if self.status != "fail":
            return self.status == "error"
        limit = self.rule.blocking_share
        return (
            limit is not None
            and self.excess > 0
            and self.rows_checked >= self.rule.min_rows
            and (self.rule.confidence is None or self.chance <= 1 - self.rule.confidence)
        )

    @property
    def decided(self) -> str | None:
        """What it decides on the stage: block, warn or nothing. A broken quarantine rule decides nothing (its records are kept out), nor
        does one of severity info."""
        if self.blocks:
            return "block"
        quiet = self.status != "fail" or self.rule.action == "quarantine" or self.rule.severity == "info"
        return None if quiet else "warn"

    @property
    def excess(self) -> float:
        """Rows that break the rule beyond the share that blocks; below 0 where there is room, or where no share blocks."""
        limit = self.rule.blocking_share
        return -1.0 if limit is None else self.rows_failed - self.rows_checked * limit

    @property
    def chance(self) -> float:
        """Probability of so many broken rows or more, were the true share the one that blocks: small where chance is excluded."""
        return at_least(self.rows_failed, self.rows_checked, self.rule.blocking_share or 0.0)

    def reason(self) -> str:
        if self.status == "error":
            return f"{self.rule.id}: Great Expectations and the native count differ"
        return f"{self.rule.id}: {self.rows_failed} of {self.rows_checked}"


def at_least(failed: int, of: int, share: float) -> float:
    """P(X >= failed), X binomial (of, share): the one-sided exact test, at which the Clopper-Pearson lower bound of failed/of is share.

    >>> round(at_least(1, 1, 0.05), 4), round(at_least(3, 40, 0.01), 4), at_least(0, 10, 0.5)
    (0.05, 0.0075, 1.0)
    """
    if failed <= 0 or share >= 1:
        return 1.0
    if share <= 0:
        return 0.0
    if failed <= of * share:  # at or below what is expected: a half or more, nothing is excluded
        return 1.0
    # from the likeliest of the terms on they fall by a constant factor at least: as many as matter are added
    log_term = (
        math.lgamma(of + 1) - math.lgamma(failed + 1) - math.lgamma(of - failed + 1)
        + failed * math.log(share) + (of - failed) * math.log1p(-share)
    )  # fmt: skip
    term = total = math.exp(log_term)
    for k in range(failed, of):
        term *= (of - k) / (k + 1) * share / (1 - share)
        total += term
        if term < total * 1e-15:
            break
    return min(total, 1.0)


def verdict(results: Sequence[Result]) -> tuple[list[str], list[str]]:
    """(what blocks, what warns)."""
    decided = [(r, r.decided) for r in results]
    return [r.reason() for r, told in decided if told == "block"], [r.reason() for r, told in decided if told == "warn"]


def decisions(results: Sequence[Result]) -> dict[str, str]:
    """Rule -> block or warn, of the rules that ``verdict`` names."""
    return {r.rule.id: told for r in results if (told := r.decided) is not None}


def word(block: Sequence[str], warn: Sequence[str]) -> str:
    """pass, warn or block."""
    return "block" if block else "warn" if warn else "pass"


def write_verdict(
    cursor: Cursor,
    run_id: str,
    stage: str,
    place: tuple[str, str],
    decided: str,
    reasons: Sequence[str] = (),
    error: ErrorFields | None = None,
) -> None:
    """One row of quality.verdict for (hospital, delivery): what the rules counted, and the typed error of a block."""
    cursor.execute(
        f"insert into quality.verdict (run_id, stage, hospital_id, delivery_id, verdict, reasons, {error_columns.COLUMNS}) "
        f"values (%s, %s, %s, %s, %s, %s, {error_columns.MARKS}) on conflict (run_id, stage, hospital_id, delivery_id) "
        f"do update set verdict = excluded.verdict, reasons = excluded.reasons, {error_columns.SET_EXCLUDED}",
        (run_id, stage, *place, decided, "; ".join(reasons), *error_columns.values(error)),
    )


def write_results(
    cursor: Cursor,
    run_id: str,
    stage: str,
    place: tuple[str, str],
    results: Sequence[Result],
    decided: Mapping[str, str] | None = None,
) -> None:
    """Rows of quality.result for (hospital, delivery).

    Args:
        decided: rule -> block or warn, of those on which the gate's verdict on this place hangs; of totals that are no verdict's: none.
    """
    execute_values(
        cursor,
        "insert into quality.result (run_id, stage, hospital_id, delivery_id, table_name, rule_id, rule_version, category, "
        "severity, action, status, rows_checked, rows_failed, rows_failed_gx, threshold, decided) values %s "
        "on conflict (run_id, stage, hospital_id, delivery_id, table_name, rule_id) do update set status = excluded.status, "
        "rows_checked = excluded.rows_checked, rows_failed = excluded.rows_failed, rows_failed_gx = excluded.rows_failed_gx, "
        "decided = excluded.decided",
        [
            (
                run_id, stage, *place, r.table, r.rule.id, r.rule.version, r.rule.category,
                r.rule.severity, r.rule.action, r.status, r.rows_checked, r.rows_failed, r.gx_failed, r.rule.threshold,
                (decided or {}).get(r.rule.id),
            )
            for r in results
        ],
        page_size=1000,
    )  # fmt: skip
