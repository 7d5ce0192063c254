"""What a run did, asked from the ledger and the gates' results: counts, codes and sentences, never a patient's value.

A run is a whole chain: the ingest run and what it set off (``estuaire.runs.explain``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from estuaire.base import yaml_text
from estuaire.base.errors import FullHeld, explained_errors
from estuaire.base.texts import say
from estuaire.contract.tables import UPDATED_COLUMN, load_contract
from estuaire.report.texts import Text, counted, percent, same, text, word
from estuaire.rules.rule_registry import FOLDER as RULES_FOLDER
from estuaire.rules.rule_registry import implied_rules
from estuaire.runs.explain import Explanation, Stop, explain
from estuaire.runs.held_fulls import Waiting
from estuaire.storage import error_columns, ledger
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform

GATES = ("landed", "consolidated", "conformed", "marts")
ALL = "*"
# what the kernel finds by itself, besides types and hours: tests/report looks for others in its code
KERNEL_CHECKS = ("record.quote", "record.nul", "record.encoding", "record.fields", "op.value")
_WORST = {"pass": 0, "warn": 1, "held": 2, "block": 3}
_RULE_ORDER = ("error", "block", "warn", "quarantine", "info", "pass", "not_applicable")


@dataclass(frozen=True)
class Verdict:
    """What a gate decided for a hospital: the worst over its deliveries. ``hospital`` is * for all together."""

    stage: str
    hospital: str
    verdict: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class RuleResult:
    """One rule of one stage over the run. ``outcome``: error, block, warn, quarantine, info, pass or not_applicable.

    ``hospitals``: those whose records break it, most first, with the share of each.
    """

    stage: str
    table: str
    rule_id: str
    label: Text
    outcome: str
    rows_checked: int
    rows_failed: int
    threshold: float | None
    hospitals: tuple[tuple[str, int, float], ...]

    @property
    def rate(self) -> float | None:
        return self.rows_failed / self.rows_checked if self.rows_checked else None


@dataclass(frozen=True)
class Quarantined:
    """Records set aside in landing: per hospital, table, disposition and rule. ``records`` may break several rules."""

    hospital: str
    table: str
    disposition: str
    labels: tuple[Text, ...]
    rule_ids: str
    records: int
    still_open: int


@dataclass(frozen=True)
class Delivery:
    """One delivery of the run. ``rows`` and ``bytes`` are what its manifest declares."""

    hospital: str
    delivery: str
    kind: str
    period: tuple[Any, Any]
    tables: int
    rows: int
    bytes: int
    state: str
    error_code: str


@dataclass(frozen=True)
class StageCost:
    """One attempt of a stage and what it cost; ``gate_seconds`` of its seconds went into its gate, where that was measured."""

    stage: str
    state: str
    started_at: datetime
    seconds: float | None
    cpu_seconds: float | None
    peak_memory_bytes: int | None
    rows: int | None
    gate_seconds: float | None


@dataclass(frozen=True)
class Balance:
    """The accounting identity of one stage: rows in = out + quarantined + superseded + unparseable + not loaded, and the hash sums too.

    ``reasons``: why records were not loaded -> how many. Publish has no account of single records: in are staging's rows of the tables
    that a model holds row by row, out are those models' rows as gate 3 counted them.
    """

    stage: str
    deliveries: int
    rows_in: int
    rows_out: int
    quarantined: int
    superseded: int
    unparseable: int
    not_loaded: int
    balanced: bool
    reasons: tuple[tuple[Text, int], ...] = ()


@dataclass(frozen=True)
class Todo:
    """What a steward does next. ``who``: hospital, platform or nobody."""

    who: str
    where: str
    what: Text
    remedy: Text


@dataclass(frozen=True)
class RunData:
    """Everything that the first half of the report shows. ``state``: success, warned, held, blocked, failed, running or
    nothing_new."""

    run_id: str
    state: str
    message: str
    started_at: datetime
    ended_at: datetime | None
    hospitals: dict[str, str]
    verdicts: dict[tuple[str, str], Verdict]
    rules: list[RuleResult]
    quarantined: list[Quarantined]
    deliveries: list[Delivery]
    stages: list[StageCost]
    balances: list[Balance]
    stops: list[Stop]
    held: list[Waiting]
    release: int | None
    todo: list[Todo] = field(default_factory=list)

    def counted(self, verdict: str) -> int:
        """Hospitals and stages with this verdict."""
        return sum(v.verdict == verdict for v in self.verdicts.values())


def read(platform: Platform, run: str | None = None) -> RunData:
    """The data of a run (default: the latest).

    Raises:
        UnknownName: no run has this name.
    """
    database = platform.database
    explanation = explain(platform, run)
    rows = ledger.fetch(
        database,
        "select run_id, started_at, ended_at from control.run where coalesce(parent_run_id, run_id) = "
        "(select coalesce(parent_run_id, run_id) from control.run where run_id = %s) order by started_at",
        (explanation.name,),
    )
    runs = [r["run_id"] for r in rows]
    verdicts = _verdicts(database, runs)
    deliveries = _deliveries(explanation)
    state = _state(explanation, verdicts, deliveries)
    ended = [r["ended_at"] for r in rows if r["ended_at"]]
    rules = _rules(database, runs)
    quarantined = _quarantined(database, runs)
    return RunData(
        run_id=explanation.name,
        state=state,
        message=explanation.message,
        started_at=rows[0]["started_at"],
        ended_at=max(ended) if ended and state != "running" else None,
        hospitals=_hospitals(platform),
        verdicts=verdicts,
        rules=rules,
        quarantined=quarantined,
        deliveries=deliveries,
        stages=_stages(database, runs),
        balances=_balances(database, runs),
        stops=explanation.stopped,
        held=explanation.held,
        release=max((r["release_id"] for r in explanation.releases), default=None),
        todo=_todo(explanation, verdicts, quarantined),
    )


# ------------------------------------------------------------------------------------------------ parts


def _hospitals(platform: Platform) -> dict[str, str]:
    """Id -> name of each hospital that ever delivered, in the registry's order; one that left the registry keeps its id."""
    known = {
        r["hospital_id"] for r in ledger.fetch(platform.database, "select distinct hospital_id from control.delivery")
    }
    registry = platform.registry.hospitals
    named = {h.id: h.name for h in registry.values() if h.id in known}
    return named | {h: h for h in sorted(known - set(named))}


def _verdicts(database: Database, runs: list[str]) -> dict[tuple[str, str], Verdict]:
    verdicts: dict[tuple[str, str], Verdict] = {}
    for row in ledger.fetch(
        database,
        f"select stage, hospital_id, verdict, reasons, {error_columns.COLUMNS} from quality.verdict where run_id = any(%s) and stage = any(%s) "
        "order by stage, hospital_id, delivery_id, run_id",
        (runs, list(GATES)),
    ):
        place = (row["hospital_id"], row["stage"])
        before = verdicts.get(place)
        why = error_columns.reasons(row)
        reasons = (before.reasons if before else ()) + ((why,) if why else ())
        # no block but a question
        row_verdict = "held" if row["error_code"] == FullHeld.code else row["verdict"]
        verdict = max(row_verdict, before.verdict if before else "pass", key=_WORST.__getitem__)
        verdicts[place] = Verdict(row["stage"], row["hospital_id"], verdict, reasons)
    return verdicts


def rule_labels() -> dict[str, Text]:
    """Rule id -> its label: every stage of the registry, the contract's implied rules, and what the kernel checks by itself."""
    labels = {}
    for table in load_contract().tables:
        for column in table.columns:
            for check in ("type", "missing_hour", "national_id", "spreadsheet"):
                told = {"column": Text(column.label_fr, column.label_en)}
                labels[f"{table.name}.{column.name}.{check}"] = text(f"check_{check}", **told)
        for check in ("type", "range"):
            labels[f"{table.name}.{UPDATED_COLUMN}.{check}"] = text(f"check_{check}", column=text("source_updated_at"))
        for check in KERNEL_CHECKS:
            labels[f"{table.name}.{check}"] = text(f"check_{check.replace('.', '_')}")
        for stage in ("landed", "consolidated"):
            labels |= {r.id: Text(r.label_fr, r.label_en) for r in implied_rules(table, stage)}
    for file in sorted(Path(RULES_FOLDER).rglob("*.yml")):
        document = yaml_text.read(file.read_text(encoding="utf-8"))
        for rule in document.get("rules", []) if isinstance(document, dict) else []:
            if "label" in rule:
                labels[rule["id"]] = Text(rule["label"]["fr"], rule["label"]["en"])
    return labels


def _outcome(statuses: set[str], action: str, failed: int, decided: str | None) -> str:
    """A rule that is broken and on which no gate decided anything (severity info, few rows) is information."""
    if "error" in statuses:
        return "error"
    if "fail" not in statuses:
        return "not_applicable" if statuses == {"not_applicable"} and not failed else "pass"
    return decided or ("quarantine" if action == "quarantine" else "info")


def _rules(database: Database, runs: list[str]) -> list[RuleResult]:
    """One entry per stage, table and rule. The hospitals' rows give counts; a rule that is only counted in total keeps its total."""
    labels = rule_labels()
    grouped: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in ledger.fetch(
        database,
        "select stage, table_name, rule_id, hospital_id, max(action) as action, "
        "array_agg(distinct status) as statuses, sum(rows_checked)::bigint as checked, sum(rows_failed)::bigint as failed, "
        "array_agg(distinct decided) as decided, max(threshold) as threshold from quality.result where run_id = any(%s) group by 1, 2, 3, 4",
        (runs,),
    ):
        grouped.setdefault((row["stage"], row["table_name"], row["rule_id"]), []).append(row)
    results = []
    for (stage, table, rule_id), rows in grouped.items():
        counted_rows = [r for r in rows if r["hospital_id"] != ALL] or rows
        statuses = {s for r in rows for s in r["statuses"]}
        decided = {d for r in rows for d in r["decided"]}
        worst_decided = next((d for d in ("block", "warn") if d in decided), None)
        failed = sum(r["failed"] for r in counted_rows)
        worst = sorted((r for r in counted_rows if r["failed"]), key=lambda r: (-r["failed"], r["hospital_id"]))
        results.append(
            RuleResult(
                stage,
                table,
                rule_id,
                labels.get(rule_id, same(rule_id)),
                _outcome(statuses, rows[0]["action"], failed, worst_decided),
                sum(r["checked"] for r in counted_rows),
                failed,
                rows[0]["threshold"],
                tuple((r["hospital_id"], r["failed"], r["failed"] / (r["checked"] or 1)) for r in worst),
            )
        )
    place = {name: i for i, name in enumerate(GATES)}
    return sorted(
        results,
        key=lambda r: (_RULE_ORDER.index(r.outcome), place.get(r.stage, 9), -r.rows_failed, r.table, r.rule_id),
    )


def _quarantined(database: Database, runs: list[str]) -> list[Quarantined]:
    labels = rule_labels()
    return [
        Quarantined(
            r["hospital_id"],
            r["table_name"],
            r["disposition"],
            tuple(labels.get(i, same(i)) for i in r["rule_ids"].split(",")),
            r["rule_ids"],
            r["records"],
            r["still_open"],
        )
        for r in ledger.fetch(
            database,
            "select hospital_id, table_name, disposition, rule_ids, count(*)::bigint as records, "
            "count(*) filter (where state in ('open', 'sent_to_hospital'))::bigint as still_open "
            "from control.rejected_record where run_id = any(%s) group by 1, 2, 3, 4 order by 5 desc, 1, 2, 4",
            (runs,),
        )
    ]


def _deliveries(explanation: Explanation) -> list[Delivery]:
    return [
        Delivery(
            r["hospital_id"],
            r["delivery_id"],
            r["kind"] or "",
            (r["period_from"], r["period_to"]),
            r["tables"] or 0,
            r["rows"] or 0,
            sum(f.get("bytes", 0) for f in (r["manifest"] or {}).get("files", [])),
            r["state"] if r["state"] == "held" else "blocked" if r["error_code"] else r["state"],
            r["error_code"] or "",
        )
        for r in explanation.arrived
    ]


def _stages(database: Database, runs: list[str]) -> list[StageCost]:
    rows = ledger.fetch(  # to_jsonb: the column gate_seconds may not be there
        database,
        "select s.stage, s.started_at, s.seconds, s.cpu_seconds, s.peak_memory_bytes, s.rows, "
        "(to_jsonb(s) ->> 'gate_seconds')::double precision as gate_seconds, "
        "case when s.state = 'running' and r.ended_at is not null then 'died' else s.state end as state "
        "from control.stage_run s join control.run r using (run_id) where s.run_id = any(%s) order by s.started_at, s.token",
        (runs,),
    )
    return [StageCost(**row) for row in rows]


def _balances(database: Database, runs: list[str]) -> list[Balance]:
    rows = ledger.fetch(
        database,
        "select a.stage, count(distinct (a.hospital_id, a.delivery_id)) as deliveries, sum(rows_in)::bigint as rows_in, "
        "sum(rows_out)::bigint as rows_out, sum(rows_quarantined)::bigint as quarantined, "
        "sum(rows_superseded)::bigint as superseded, sum(rows_unparseable)::bigint as unparseable, "
        "sum(rows_not_loaded)::bigint as not_loaded, "
        "bool_and(rows_in = rows_out + rows_quarantined + rows_superseded + rows_unparseable + rows_not_loaded and "
        "hash_in = hash_out + hash_quarantined + hash_superseded + hash_unparseable + hash_not_loaded) as balanced "
        "from control.accounting a join control.stage_run s using (run_id, stage, token) where a.run_id = any(%s) "
        "group by a.stage order by min(s.started_at)",
        (runs,),
    )
    reasons = _not_loaded(database, runs)
    balances = [Balance(**row, reasons=reasons if row["stage"] == "load" else ()) for row in rows]
    published = _published(database, runs)
    return [*balances, published] if published else balances


def _not_loaded(database: Database, runs: list[str]) -> tuple[tuple[Text, int], ...]:
    rows = ledger.fetch(
        database,
        "select reason, sum(records::bigint)::bigint as records from control.accounting, "
        "jsonb_each_text(not_loaded) as why (reason, records) where run_id = any(%s) group by 1 order by 2 desc, 1",
        (runs,),
    )
    return tuple((word("not_loaded", r["reason"]), r["records"]) for r in rows)


# staging table -> the model of which each of its rows is one row
_ROW_BY_ROW = {"movement": "unit_stay"} | {
    t: t for t in ("stay", "unit", "diagnosis", "procedure", "prescription", "specimen", "isolate", "susceptibility", "lab_result")
}  # fmt: skip


def _published(database: Database, runs: list[str]) -> Balance | None:
    """Staging as it was when the run published, against the models' rows that gate 3 counted; None where either is not known."""
    counted = {
        r["table_name"]: r["records"]
        for r in ledger.fetch(
            database,
            # counted for all hospitals together, or hospital by hospital
            "select table_name, coalesce(sum(rows_checked) filter (where hospital_id = %s), sum(rows_checked))::bigint as records "
            "from quality.result where run_id = any(%s) and stage = 'conformed' and rule_id = table_name || '.key.unique' "
            "and table_name = any(%s) group by 1",
            (ALL, runs, list(_ROW_BY_ROW.values())),
        )
    }
    staged = ledger.fetch(
        database,
        "with published as (select max(started_at) as at from control.stage_run where run_id = any(%s) and stage = 'publish'), "
        "account as (select distinct on (a.hospital_id, a.delivery_id, a.table_name) a.* from control.accounting a "
        "join control.stage_run s using (run_id, stage, token), published "
        "where a.stage = 'load' and s.state = 'committed' and s.started_at <= published.at "
        "order by a.hospital_id, a.delivery_id, a.table_name, s.started_at desc) "
        "select table_name, sum(rows_out)::bigint as records, count(distinct (hospital_id, delivery_id)) as deliveries, "
        # a hospital loaded before loads had accounts
        "exists (select 1 from control.load l where not exists (select 1 from account a where a.hospital_id = l.hospital_id)) as unknown "
        "from account group by 1",
        (runs,),
    )
    known = {r["table_name"]: r["records"] for r in staged if r["table_name"] in _ROW_BY_ROW}
    if not counted or not known or any(r["unknown"] for r in staged):
        return None
    same_rows = all(counted.get(model, 0) == known.get(table, 0) for table, model in _ROW_BY_ROW.items())
    deliveries = max(r["deliveries"] for r in staged)
    return Balance("publish", deliveries, sum(known.values()), sum(counted.values()), 0, 0, 0, 0, same_rows)


def _state(explanation: Explanation, verdicts: Mapping[Any, Verdict], deliveries: list[Delivery]) -> str:
    if explanation.state != "success":
        return explanation.state
    worst = max((_WORST[v.verdict] for v in verdicts.values()), default=0)
    if any(d.state == "blocked" for d in deliveries) or worst == _WORST["block"]:
        return "blocked"
    if any(d.state == "held" for d in deliveries):
        return "held"
    return "warned" if worst else "success"


# ------------------------------------------------------------------------------------------------ what to do next


def _todo(explanation: Explanation, verdicts: Mapping[Any, Verdict], quarantined: list[Quarantined]) -> list[Todo]:
    """Blocked deliveries and failed stages first, then warnings, then records that wait for a correction."""
    by_code = frozenset(explained_errors())
    places = {f"{r['hospital_id']}/{r['delivery_id']}" for r in explanation.arrived}
    todo = []
    for stop in explanation.stopped:
        what, remedy = same(stop.what), same(stop.remedy)
        if stop.code in by_code:
            place = f"refusal.{stop.code}"
            what = Text(say("fr", f"{place}.what"), stop.what)
            remedy = Text(say("fr", f"{place}.remedy"), stop.remedy or say("en", f"{place}.remedy"))
        what, remedy = _sentence(what), _sentence(remedy)
        who = "hospital" if stop.where in places else "platform"
        todo.append(Todo(who, stop.where, what, remedy))
    for one in explanation.held:
        what = _sentence(text("todo_held", tables=_ends(one)))
        todo.append(Todo("confirm", f"{one.hospital}/{one.delivery}", what, text("todo_held_do", command=one.command)))
    warned = sorted({v.hospital for v in verdicts.values() if v.verdict == "warn" and v.hospital != ALL})
    if warned:
        todo.append(
            Todo("platform", "", counted("todo_warned", len(warned), names=_few(warned)), text("todo_warned_do"))
        )
    waiting = sum(q.still_open for q in quarantined)
    if waiting:
        of = counted("n_hospitals", len({q.hospital for q in quarantined if q.still_open}))
        todo.append(Todo("hospital", "", counted("todo_waiting", waiting, hospitals=of), text("todo_waiting_do")))
    return todo


def _ends(one: Waiting, most: int = 3) -> Text:
    """The tables for which a held delivery waits, and how much of each it would end."""
    told = [
        text("ends", table=e.table, ended=e.ended, standing=e.standing, share=percent(e.share))
        for e in one.endings
        if e.beyond
    ]
    joined = Text(*("; ".join(parts) for parts in zip(*told[:most], strict=True))) if told else same("–")
    return joined if len(told) <= most else text("and_more", names=joined, n=len(told) - most)


def _sentence(told: Text) -> Text:
    return Text(*(part[:1].upper() + part[1:] for part in told))


def _few(names: list[str], most: int = 6) -> Text:
    told = ", ".join(names[:most])
    return same(told) if len(names) <= most else text("and_more", names=told, n=len(names) - most)
