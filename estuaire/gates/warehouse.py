"""Gates 3 and 4: may the conformed models and the marts of a candidate release be served?

After dbt has built the candidate schemas, PostgreSQL counts each rule natively, one pass per table and hospital; Great Expectations counts
the same rules over views of a column per rule, uniqueness there by row numbers (natively by grouping). Both counts must agree, or the gate
errors. The rule over all hospitals decides whether the candidate is blocked; ``estuaire.gates.attribution`` then says whether some
hospitals alone broke it, which are held back. A hospital that alone exceeds a threshold that all keep is a warning of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from estuaire.base.errors import GateBlocked, PublishFailed
from estuaire.contract.registry import GROUP
from estuaire.gates import docs
from estuaire.gates.gx import Counts, Suites, breaks
from estuaire.gates.results import WHOLE, Result, decisions, verdict, word, write_results, write_verdict
from estuaire.rules.rule_registry import FOLDER, Rule, StageRules, stage_rules
from estuaire.rules.rule_relations import MODELS, Relation
from estuaire.storage import held_hospitals

if TYPE_CHECKING:
    from pathlib import Path

    from psycopg2.extensions import connection, cursor

    from estuaire.storage.platform import Platform

STAGES = ("conformed", "marts")
_MONTHS = ("hospital_id", "month", "table_name")
_REMEDY = "look at the rules named (`estuaire explain`, expectations/), correct the data or the model and publish again"
_NAMED = 10  # hospitals that a verdict names one by one
_Native = dict[str, dict[str, tuple[int, int]]]  # rule id -> hospital -> (rows checked, rows that break it)
SCHEMA = "audit_next"  # computed relations and views of the audit; dropped before the swap


@dataclass
class Finding:
    """What the audit of a stage found: per rule over everything, and per hospital."""

    stage: str
    totals: list[Result] = field(default_factory=list)
    hospitals: dict[str, list[Result]] = field(default_factory=dict)
    months: dict[str, list[str]] = field(
        default_factory=dict
    )  # rule -> the first hospital, month and table that break it
    held_back: Mapping[str, list[str]] = field(
        default_factory=dict
    )  # hospital whose newest content is not in the candidate -> what broke at this gate, if it did

    def verdict(self) -> tuple[str, list[str]]:
        """(pass, warn or block, reasons) of the candidate; a reason names the hospital that breaks its rule most."""
        block, warn = verdict(self.totals)
        named = {r.reason(): self._most(r.rule.id) for r in self.totals}
        reasons = [f"{text}{named[text]}" for text in block + warn]
        fine = {r.rule.id for r in self.totals if r.status == "pass"}
        alone = [
            f"{hospital} alone: {result.reason()}"
            for hospital in sorted(self.hospitals)
            for result in self._warned(hospital)
            if result.rule.id in fine
        ]
        if len(alone) > _NAMED:
            alone = [*alone[:_NAMED], f"{len(alone) - _NAMED} more, see quality.verdict"]
        held = [f"{h} held back: {reason}" for h, broken in sorted(self.held_back.items()) for reason in broken]
        return word(block, warn + held + alone), reasons + held + alone

    def stopping(self) -> list[str]:
        """The reasons that block the candidate, without what only warns."""
        return [f"{r.reason()}{self._most(r.rule.id)}" for r in self.totals if r.blocks]

    def hospital_verdict(self, hospital: str) -> tuple[str, list[str]]:
        """(pass, warn or block, reasons) of one hospital: block where it breaks a rule that blocks the candidate, or is held back."""
        if self.held_back.get(hospital):
            return "block", list(self.held_back[hospital])
        decided = self._of_hospital(hospital)
        block, warn = ([r.reason() for r, told in decided if told == which] for which in ("block", "warn"))
        return word(block, warn), block + warn

    def hospital_decisions(self, hospital: str) -> dict[str, str]:
        """Rule -> block or warn, of the rules that ``hospital_verdict`` names."""
        return {r.rule.id: told for r, told in self._of_hospital(hospital)}

    def _of_hospital(self, hospital: str) -> list[tuple[Result, str]]:
        stopping = {r.rule.id for r in self.totals if r.blocks}
        block = [r for r in self.hospitals[hospital] if r.rule.id in stopping and r.status in ("fail", "error")]
        warn = [r for r in self._warned(hospital) if r.rule.id not in stopping]
        return [*((r, "block") for r in block), *((r, "warn") for r in warn)]

    def blocked(self, hospital: str = WHOLE) -> GateBlocked | None:
        """The typed error of the candidate, or of one hospital, that this gate blocks."""
        whole = hospital == WHOLE
        decided, reasons = self.verdict() if whole else self.hospital_verdict(hospital)
        if decided != "block":
            return None
        return GateBlocked(
            f"gate {self.stage}: {'; '.join(self.stopping() if whole else reasons)}",
            remedy=_REMEDY if whole else held_hospitals.REMEDY,
            hospital=None if whole else hospital,
        )

    def _warned(self, hospital: str) -> list[Result]:
        return [
            r
            for r in self.hospitals[hospital]
            if r.status == "fail" and r.rule.severity != "info" and r.rows_checked >= r.rule.min_rows
        ]

    def _most(self, rule_id: str) -> str:
        broken = [
            (r.rows_failed, h) for h, rs in self.hospitals.items() for r in rs if r.rule.id == rule_id and r.rows_failed
        ]
        if not broken:
            return ""
        failed, hospital = max(broken)
        months = f", first {', '.join(self.months[rule_id])}" if rule_id in self.months else ""
        return f" (most in {hospital}: {failed}{months})"


def audit(
    platform: Platform,
    session: connection,
    run_id: str,
    shifted: Collection[str] = (),
    *,
    folder: Path = FOLDER,
    models: Path = MODELS,
    held_back: Mapping[str, Mapping[str, list[str]]] | None = None,
) -> list[Finding]:
    """Audit the candidate schemas and write results, verdicts and Data Docs; one finding per stage.

    Args:
        session: the owner's, not in a transaction; each stage's results are committed.
        shifted: hospitals without real dates.
        held_back: hospital -> gate -> reasons, of those whose newest content is not in the candidate.

    Raises:
        ContractError: the rule registry is wrong.
        PublishFailed: the candidate lacks a model that rules are about.
    """
    findings = []
    for stage in STAGES:
        finding = _audit_stage(platform, session, run_id, stage, shifted, folder, models)
        finding.held_back = {h: reasons.get(stage, []) for h, reasons in (held_back or {}).items()}
        with session.cursor() as cur:
            _write(cur, run_id, finding)
        session.commit()
        findings.append(finding)
    return findings


def blocked(findings: Sequence[Finding]) -> GateBlocked | None:
    """The typed error of a candidate that may not be served."""
    stopped = [error.what for finding in findings if (error := finding.blocked()) is not None]
    if not stopped:
        return None
    return GateBlocked(f"the new release did not pass, the last one stays served. {'. '.join(stopped)}", remedy=_REMEDY)


def _audit_stage(
    platform: Platform,
    session: connection,
    run_id: str,
    stage: str,
    shifted: Collection[str],
    folder: Path,
    models: Path,
) -> Finding:
    known = stage_rules(stage, folder, models)
    finding = Finding(stage)
    suites = Suites()
    with session.cursor() as cur:
        cur.execute(f"drop schema if exists {SCHEMA} cascade; create schema {SCHEMA}")
    session.commit()
    try:
        sources = {
            name: _prepared(session, stage, known.relations[name], rules, shifted)
            for name, rules in known.rules.items()
        }
        # the two counts go on at the same time, each over its own connection
        with ThreadPoolExecutor(1) as beside:
            native = beside.submit(_all_native, session, sources, known, shifted)
            counted = suites.views(
                platform.database, SCHEMA, {n: (f"gx_{n}", rules) for n, rules in known.rules.items()}
            )
        for name, rules in known.rules.items():
            _judge(finding, name, rules, native.result()[name], counted[name])
            if known.relations[name].columns.keys() >= set(_MONTHS):
                with session.cursor() as cur:
                    finding.months |= _months(cur, sources[name], rules, shifted, native.result()[name])
    finally:
        suites.close()
        session.rollback()
        with session.cursor() as cur:
            cur.execute(f"drop schema if exists {SCHEMA} cascade")
        session.commit()
    docs.write(platform.settings, run_id, stage, suites.results)
    return finding


def _prepared(
    session: connection, stage: str, relation: Relation, rules: Sequence[Rule], shifted: Collection[str]
) -> str:
    """Make the view that Great Expectations reads, and first the relation where it is computed; the name of what is counted."""
    source = f"{stage}_next.{relation.name}" if relation.query is None else f"{SCHEMA}.{relation.name}"
    with session.cursor() as cur:
        if relation.query is None:
            cur.execute("select to_regclass(%s) is null", (source,))
            if (cur.fetchone() or [True])[0]:
                raise PublishFailed(
                    f"{stage}.{relation.name} is not in the candidate, and rules are about it",
                    remedy="build the model, or remove its file from expectations/",
                )
        else:
            cur.execute(f"create unlogged table {source} as {relation.reads(_candidate)}")
        cur.execute(f"create view {SCHEMA}.gx_{relation.name} as select {_marks(rules, shifted)} from {source}")
    session.commit()
    return source


def _all_native(
    session: connection, sources: Mapping[str, str], known: StageRules, shifted: Collection[str]
) -> dict[str, _Native]:
    with session.cursor() as cur:
        return {
            name: _native(cur, source, known.relations[name], known.rules[name], shifted)
            for name, source in sources.items()
        }


def _candidate(stage: str, model: str) -> str:
    return f"{stage}_next.{model}"


def _marks(rules: Sequence[Rule], shifted: Collection[str]) -> str:
    """A column per rule: 1 where a row breaks it, 0 where it keeps it or the rule does not apply."""
    columns = []
    for rule in rules:
        if rule.unique:
            keys = ", ".join(rule.unique)
            first = f"row_number() over (partition by {keys}) = 1"
            columns.append(f'{breaks(f"({keys}) is not null and {first}")} as "{rule.mark}"')
        else:
            columns.append(f'{breaks(rule.sql("postgres", shifted))} as "{rule.mark}"')
    return ", ".join(columns)


def _native(cur: cursor, source: str, relation: Relation, rules: Sequence[Rule], shifted: Collection[str]) -> _Native:
    has_hospital = "hospital_id" in relation.columns
    hospital = f"coalesce(hospital_id, '{WHOLE}')" if has_hospital else f"'{WHOLE}'"
    native: _Native = {rule.id: {} for rule in rules}
    by_row = [r for r in rules if not r.unique]
    if by_row:
        selected = []
        for rule in by_row:
            expression = rule.sql("postgres", shifted)
            selected += [f"count({expression})", f"count(*) filter (where not ({expression}))"]
        cur.execute(f"select {hospital}, {', '.join(selected)} from {source} group by 1")
        for place, *counts in cur.fetchall():
            for i, rule in enumerate(by_row):
                native[rule.id][place] = (int(counts[2 * i]), int(counts[2 * i + 1]))
    for rule in (r for r in rules if r.unique):
        first = "min(hospital_id)" if has_hospital else f"'{WHOLE}'"
        keys = ", ".join(rule.unique)
        cur.execute(
            f"select coalesce(place, '{WHOLE}'), sum(n), sum(case when complete then n - 1 else n end) from (select {first} as place, "
            f"count(*) as n, ({keys}) is not null as complete from {source} group by {keys}) as keyed group by 1"
        )
        native[rule.id] = {place: (int(rows), int(beyond)) for place, rows, beyond in cur.fetchall()}
    return native


def _months(
    cur: cursor, source: str, rules: Sequence[Rule], shifted: Collection[str], native: _Native
) -> dict[str, list[str]]:
    """The first places that break each rule of a table by month: the candidate is dropped, and no one could look them up."""
    places = {}
    for rule in rules:
        if not rule.unique and any(broken for _, broken in native[rule.id].values()):
            cur.execute(
                f"select concat_ws(' ', hospital_id, to_char(month, 'YYYY-MM'), table_name) from {source} "
                f"where not ({rule.sql('postgres', shifted)}) order by 1 limit {_NAMED}"
            )
            places[rule.id] = [place for (place,) in cur.fetchall()]
    return places


def _judge(finding: Finding, name: str, rules: Sequence[Rule], native: _Native, counted: Counts) -> None:
    for rule in rules:
        by_hospital = native[rule.id]
        failed = sum(f for _, f in by_hospital.values())
        gx_failed = counted.get(rule.id)
        agree = gx_failed == failed
        total = Result(name, rule, sum(c for c, _ in by_hospital.values()), failed, None, gx_failed, agree)
        finding.totals.append(total)
        for hospital, (checked, broken) in by_hospital.items():
            if hospital not in (WHOLE, GROUP):
                finding.hospitals.setdefault(hospital, []).append(Result(name, rule, checked, broken, gx_agrees=agree))


def _write(cur: cursor, run_id: str, finding: Finding) -> None:
    write_results(cur, run_id, finding.stage, (WHOLE, WHOLE), finding.totals, decisions(finding.totals))
    _write_verdict(cur, run_id, finding, WHOLE)
    for hospital in sorted(h for h, reasons in finding.held_back.items() if reasons):
        # its results stay those of the content that was refused, where this run audited it
        _write_verdict(cur, run_id, finding, hospital)
    for hospital, results in sorted(finding.hospitals.items()):
        if hospital in finding.held_back:
            continue
        decided = finding.hospital_decisions(hospital)
        write_results(cur, run_id, finding.stage, (hospital, WHOLE), results, decided)
        _write_verdict(cur, run_id, finding, hospital)


def _write_verdict(cur: cursor, run_id: str, finding: Finding, hospital: str) -> None:
    decided, reasons = finding.verdict() if hospital == WHOLE else finding.hospital_verdict(hospital)
    error = finding.blocked(hospital)
    write_verdict(
        cur, run_id, finding.stage, (hospital, WHOLE), decided, reasons, None if error is None else error.fields
    )
