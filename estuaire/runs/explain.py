"""What happened to a run or a delivery, from the ledger and the gates' results: counts, codes and sentences, never a patient's value.

A run here is a whole chain: the ingest run and what it set off. A delivery's stages are those of the chains that landed, refused
or first consolidated it.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from shlex import quote  # a name of a delivery is a folder's: whoever copies a command runs no other
from typing import Any

from estuaire.base.display_text import shown
from estuaire.base.errors import (
    ChecksumMismatch,
    DeliveryChanged,
    ErrorFields,
    FileMissing,
    GateBlocked,
    ManifestInvalid,
    ManifestMissing,
    PathOutsideDelivery,
    UnknownName,
)
from estuaire.base.run_names import DAGS, INGEST, ledger_run_id
from estuaire.runs import held_fulls
from estuaire.runs.held_fulls import Waiting
from estuaire.storage import error_columns, held_hospitals, ledger, set_aside
from estuaire.storage.database import Database
from estuaire.storage.held_hospitals import Held
from estuaire.storage.platform import Platform

Row = dict[str, Any]
Place = tuple[str, str]
REFUSED = "refused"  # stage of a verdict that keeps a refusal which someone asked to try again
# their cause lies in the bytes alone: no registry entry, rule or code map makes the same bytes pass
NEEDS_HOSPITAL = frozenset(
    kind.code
    for kind in (ManifestMissing, ManifestInvalid, PathOutsideDelivery, FileMissing, ChecksumMismatch, DeliveryChanged)
)


@dataclass(frozen=True)
class Subject:
    """What a name means: the runs of a chain (oldest first), or one or more deliveries of that name."""

    name: str
    runs: tuple[str, ...] = ()
    deliveries: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Stop:
    """Why something stopped. ``where`` is a delivery or a stage; ``code`` is empty where nobody typed the error."""

    where: str
    code: str
    file: str
    what: str
    remedy: str


@dataclass(frozen=True)
class Step:
    """What to do next. ``kind``: follow, land, correct, renew, retry, again, wait, gate, logs, rerun, query, rejected, worklist."""

    kind: str
    command: str
    about: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Explanation:
    """Grain of the lists: ``arrived`` a delivery, ``tables`` a table of one, ``stages`` an attempt of a stage (seconds, bytes; ``models``: of a publication each model's seconds), ``held`` a
    full delivery that waits for a confirmation (no stop: nothing is wrong with it that anybody knows),
    ``gates`` a verdict, ``rules`` a rule that records broke, ``releases`` a release that the run made."""

    name: str
    state: str
    message: str
    arrived: list[Row]
    tables: list[Row]
    stages: list[Row]
    gates: list[Row]
    rules: list[Row]
    stopped: list[Stop]
    held: list[Waiting]
    snapshots: list[int]
    releases: list[Row]
    served: int | None  # the release that analysts read now, whichever run made it
    next: list[Step]


# ------------------------------------------------------------------------------------------------ names


def resolve(database: Database, name: str | None) -> Subject:
    """The run or the deliveries of this name; None is the latest run. A run's id may be the ledger's or Airflow's.

    Raises:
        UnknownName: nothing has this name; names the nearest.
    """
    runs = ledger.fetch(database, "select run_id, parent_run_id from control.run order by started_at desc")
    if name is None:
        if not runs:
            raise UnknownName("there is no run yet", remedy="`estuaire run` starts one, `estuaire demo` shows it all")
        name = str(runs[0]["run_id"])
    roots = {r["run_id"]: r["parent_run_id"] or r["run_id"] for r in runs}
    run_id = next((n for n in (name, *(ledger_run_id(d, name) for d in DAGS)) if n in roots), None)
    if run_id is not None:
        return Subject(roots[run_id], tuple(r for r in reversed(roots) if roots[r] == roots[run_id]))
    places = [
        (r["hospital_id"], r["delivery_id"])
        for r in ledger.fetch(database, "select hospital_id, delivery_id from control.delivery order by 1, 2")
    ]
    matches = tuple(p for p in places if name in (p[1], "/".join(p)))
    if matches:
        return Subject(name, deliveries=matches)
    known = list(dict.fromkeys([*roots, *("/".join(p) for p in places), *(p[1] for p in places)]))
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.0)
    raise UnknownName(
        f"no run and no delivery is named '{name}'",
        remedy=f"the nearest names are {', '.join(near)}" if near else "`estuaire run` starts the first run",
    )


def runs_of(database: Database, subject: Subject) -> tuple[str, ...]:
    """The runs to tell about: a run's chain, or the chains that landed, refused or first consolidated a delivery."""
    if subject.runs:
        return subject.runs
    hospitals, deliveries = zip(*subject.deliveries, strict=True)
    rows = ledger.fetch(
        database,
        "with place as (select unnest(%(h)s::text[]) as hospital_id, unnest(%(d)s::text[]) as delivery_id), touched as ("
        "  select run_id from control.delivery join place using (hospital_id, delivery_id) where run_id is not null "
        "  union select run_id from quality.verdict join place using (hospital_id, delivery_id) "
        "  union select run_id from control.accounting a join place using (hospital_id, delivery_id) where a.stage = 'land' "
        "  union select run_id from (select distinct on (hospital_id, delivery_id) a.run_id from control.accounting a "
        "    join place using (hospital_id, delivery_id) join control.stage_run s using (run_id, stage, token) "
        "    where a.stage = 'consolidate' and s.state = 'committed' order by hospital_id, delivery_id, s.started_at) c) "
        "select run_id from control.run where coalesce(parent_run_id, run_id) in "
        "(select coalesce(r.parent_run_id, r.run_id) from control.run r join touched using (run_id)) order by started_at",
        {"h": list(hospitals), "d": list(deliveries)},
    )
    return tuple(r["run_id"] for r in rows)


# ------------------------------------------------------------------------------------------------ explain

_DELIVERIES = """
select d.*, (select count(distinct f ->> 'table') from jsonb_array_elements(d.manifest -> 'files') f) as tables,
       (select sum((f ->> 'rows')::bigint) from jsonb_array_elements(d.manifest -> 'files') f)::bigint as rows
from control.delivery d where {where} order by hospital_id, sequence nulls last, delivery_id
"""
_ARRIVED_IN_RUNS = """(hospital_id, delivery_id) in (
    select hospital_id, delivery_id from control.delivery where run_id = any(%(runs)s)
    union select hospital_id, delivery_id from quality.verdict where run_id = any(%(runs)s)
    union select hospital_id, delivery_id from control.accounting where run_id = any(%(runs)s) and stage = 'land')"""
_OF_PLACES = "(hospital_id, delivery_id) in (select unnest(%(h)s::text[]), unnest(%(d)s::text[]))"
_STAGES = f"""
select s.run_id, s.stage, s.token, s.started_at, s.seconds, s.cpu_seconds, s.peak_memory_bytes, s.snapshot_id, s.message, {error_columns.of("s")},
       case when s.state = 'running' and r.ended_at is not null then 'died' else s.state end as state,
       coalesce(a.rows_in, s.rows) as rows_in, a.rows_out, a.quarantined, a.superseded, a.unparseable, a.not_loaded,
       (select jsonb_object_agg(b.name, b.seconds) from control.model_build b
        where (b.run_id, b.stage, b.token) = (s.run_id, s.stage, s.token)) as models
from control.stage_run s join control.run r using (run_id) left join (
    select run_id, stage, token, sum(rows_in)::bigint as rows_in, sum(rows_out)::bigint as rows_out,
           sum(rows_quarantined)::bigint as quarantined, sum(rows_superseded)::bigint as superseded,
           sum(rows_unparseable)::bigint as unparseable, sum(rows_not_loaded)::bigint as not_loaded
    from control.accounting where {{where}} group by run_id, stage, token) a using (run_id, stage, token)
where s.run_id = any(%(runs)s) order by s.started_at, s.token
"""
_RULES = """
select stage, table_name, rule_id, max(action) as action, max(severity) as severity, sum(rows_failed)::bigint as rows_failed,
       sum(rows_checked)::bigint as rows_checked, sum(rows_failed)::float / nullif(sum(rows_checked), 0) as rate,
       max(threshold) as threshold, count(*) filter (where status in ('fail', 'error')) as deliveries
from quality.result where run_id = any(%(runs)s) and (hospital_id = '*') = (stage in ('conformed', 'marts')) and (rows_failed > 0 or status in ('fail', 'error'))
and {where} group by stage, table_name, rule_id
order by array_position(array['landed', 'consolidated', 'conformed', 'marts'], stage), table_name, rule_id
"""
# the first release that was built after the delivery had been consolidated, and that does not hold its hospital back
_RELEASES_OF_PLACES = """
select distinct release_id, state, snapshot_id, published_at, held_back from (
    select a.hospital_id, a.delivery_id, min(s.ended_at) as ended_at, min(s.snapshot_id) as snapshot
    from control.accounting a join control.stage_run s using (run_id, stage, token)
    where a.stage = 'consolidate' and s.state = 'committed' and {where} group by 1, 2) c
cross join lateral (select * from control.release r where r.built_at >= c.ended_at and r.snapshot_id >= c.snapshot
                    and not jsonb_exists(r.held_back, c.hospital_id)
                    order by release_id limit 1) r order by release_id
"""


def explain(platform: Platform, name: str | None = None) -> Explanation:
    """Everything that the ledger tells about a run or delivery.

    Raises:
        UnknownName: nothing has this name.
    """
    database = platform.database
    subject = resolve(database, name)
    runs = runs_of(database, subject)
    given: dict[str, object] = {
        "runs": list(runs),
        "h": [h for h, _ in subject.deliveries],
        "d": [d for _, d in subject.deliveries],
    }
    where = _OF_PLACES if subject.deliveries else "true"

    def ask(sql: str, **parts: str) -> list[Row]:
        return ledger.fetch(database, sql.format(**parts) if parts else sql, given)

    arrived = ask(_DELIVERIES, where=_OF_PLACES if subject.deliveries else _ARRIVED_IN_RUNS)
    stages = ask(_STAGES, where=where)
    rows = ask("select * from control.run where run_id = any(%(runs)s) order by started_at")
    standing = ask(
        "select * from control.consolidation_block where run_id = any(%(runs)s) or hospital_id = any(%(h)s) "
        # a block stands for the runs that come after it, too: their releases still serve the hospital's former records
        "or cardinality(%(h)s::text[]) = 0 order by hospital_id"
    )
    stopped = [
        *_stops_of_deliveries([r for r in arrived if r["state"] != "held"]),
        *(_stop(f"{b['hospital_id']}: gate consolidated", b) for b in standing),
        *_stops_of_hospitals(database, rows),
        *_stops_of_runs(rows, stages),
    ]
    if subject.deliveries:
        states = {r["state"] for r in arrived}
        state, message = ", ".join(sorted(states)), ""
        releases = ask(_RELEASES_OF_PLACES, where=_OF_PLACES)
        tables = _tables(arrived)
    else:
        ended = {r["state"] for r in latest_of_each_dag(rows)}
        state = next((s for s in ("running", "failed", "nothing_new") if s in ended), "success")
        message = "; ".join(told for r in rows if r["state"] != "failed" and (told := error_columns.said(r)))
        releases = ask(
            "select release_id, state, snapshot_id, published_at, held_back from control.release where run_id = any(%(runs)s) order by 1"
        )
        tables = []
    places = {(r["hospital_id"], r["delivery_id"]) for r in arrived}
    waits = [one for one in held_fulls.waiting(platform) if (one.hospital, one.delivery) in places]
    held = _held_back(database, releases, {h for h, _ in subject.deliveries})
    stopped += [_stop_of_held(hospital, one) for hospital, one in held.items()]
    waiting = sorted({*(str(b["hospital_id"]) for b in standing), *held})
    gates = ask(
        f"select stage, hospital_id, delivery_id, verdict, reasons, run_id, {error_columns.COLUMNS} from quality.verdict "
        f"where run_id = any(%(runs)s) and ({where} or (delivery_id = '*' and hospital_id = any(%(h)s))) "
        # a later gate's verdict on a hospital repeats what it says of the whole, unless it is not a pass
        "and (stage not in ('conformed', 'marts') or hospital_id = '*' or verdict <> 'pass') "
        "order by hospital_id, delivery_id, run_id, stage"
    )
    rules = ask(_RULES, where=where)
    snapshots = sorted({s["snapshot_id"] for s in stages if s["snapshot_id"] is not None and s["state"] == "committed"})
    return Explanation(
        subject.name, state, message, arrived, tables, stages, gates, rules, stopped, waits, snapshots, releases,
        _served(database), _next(arrived, rows, stages, waiting) + _to_look_at(database, arrived),
    )  # fmt: skip


def _served(database: Database) -> int | None:
    rows = ledger.fetch(database, "select release_id from control.release where state = 'published'")
    return int(rows[0]["release_id"]) if rows else None


def _tables(arrived: list[Row]) -> list[Row]:
    """Per delivery and table what the manifest declares."""
    declared_tables: dict[tuple[str, str, str], Row] = {}
    for row in arrived:
        for file in (row["manifest"] or {}).get("files", []):
            place = (row["hospital_id"], row["delivery_id"], file["table"])
            empty = {
                "hospital_id": place[0],
                "delivery_id": place[1],
                "table": place[2],
                "files": 0,
                "rows": 0,
                "bytes": 0,
            }
            entry = declared_tables.setdefault(place, empty)
            entry["files"] += 1
            entry["rows"] += file["rows"]
            entry["bytes"] += file["bytes"]
    return list(declared_tables.values())


def latest_of_each_dag(rows: list[Row]) -> list[Row]:
    """Of a chain's runs the last of each DAG: an earlier one was retried."""
    return list({r["dag_id"]: r for r in rows}.values())


def stop_of(where: str, error: ErrorFields) -> Stop:
    """Why a delivery or a stage stopped, by the error that stopped it."""
    place = error.place
    if place and not error.delivery:  # a whole hospital: where it stopped belongs to it
        place = where if where.startswith(f"{place}:") else f"{place}: {where}"
    return Stop(place or where, error.code, shown(error.file or ""), error.about(), error.advice())


def _stop(where: str, row: Row) -> Stop:
    """By a row with an error; one that has none says nothing."""
    error = error_columns.read(row)
    return stop_of(where, error) if error is not None else Stop(where, "", "", "", "")


def _stops_of_deliveries(arrived: list[Row]) -> list[Stop]:
    return [_stop(f"{r['hospital_id']}/{r['delivery_id']}", r) for r in arrived if r["error_code"]]


def _stops_of_hospitals(database: Database, rows: list[Row]) -> list[Stop]:
    """Hospitals that a stage of these runs went on without, and still does."""
    runs = {r["run_id"] for r in rows}
    return [_stop(f"{r['hospital_id']}: {r['stage']}", r) for r in set_aside.standing(database) if r["run_id"] in runs]


def _stops_of_runs(rows: list[Row], stages: list[Row]) -> list[Stop]:
    """The last attempt of each failed run's failed stage; what the run itself says where no stage tells."""
    stops = []
    for run in (r for r in latest_of_each_dag(rows) if r["state"] == "failed"):
        last_attempts = {s["stage"]: s for s in stages if s["run_id"] == run["run_id"]}
        failed = [s for s in last_attempts.values() if s["state"] in ("failed", "died")]
        for stage in failed:
            teller = stage if error_columns.said(stage) else run
            stops.append(_stop_of_run(stage["stage"], teller, stage["state"]))
        if not failed:
            stops.append(_stop_of_run(run["run_id"], run, "failed"))
    return stops


def _stop_of_run(where: str, row: Row, state: str) -> Stop:
    """By what a run or an attempt says: its error; with a note before it, in that note's words; else its note, or how it ended."""
    error = error_columns.read(row)
    if error is None:
        return Stop(where, "", "", row["message"] or state, "")
    if not row["message"]:
        return stop_of(where, error)
    return Stop(where, "", "", f"{row['message']}: {error.statement()}", error.advice())


def only_refusals(run: Row, arrived: list[Row], stages: list[Row]) -> bool:
    """Whether a failed ingest run failed only because every delivery was refused: no stage of it failed."""
    sound = all(s["state"] == "committed" for s in stages if s["run_id"] == run["run_id"])
    return sound and run["dag_id"] == INGEST and any(r["error_code"] for r in arrived)


def _held_back(database: Database, releases: list[Row], hospitals: set[str]) -> dict[str, Held]:
    """Hospitals that a run's releases hold back; where it published none, or of a delivery's hospitals, those that the served one does."""
    if hospitals or not releases:
        releases = ledger.fetch(database, "select held_back from control.release where state = 'published'")
    held = {h: one for r in releases for h, one in held_hospitals.read(r["held_back"]).items()}
    return {h: one for h, one in held.items() if not hospitals or h in hospitals}


def _stop_of_held(hospital: str, one: Held) -> Stop:
    error = GateBlocked(one.note(hospital), remedy=held_hospitals.REMEDY)
    return Stop(f"{hospital}: gate {', '.join(one.reasons)}", error.code, "", error.what, error.remedy)


def _kind(row: Row) -> str:
    """What is to be done about a delivery with an error."""
    if row["state"] == "landed":
        return "renew"
    if row["state"] == "received":
        return "again"
    if row["state"] == "held":
        return "confirm"
    return "correct" if row["error_code"] in NEEDS_HOSPITAL else "retry"


def _next(arrived: list[Row], rows: list[Row], stages: list[Row], waiting: list[str]) -> list[Step]:
    steps: list[Step] = []
    if any(r["state"] == "running" for r in latest_of_each_dag(rows)):
        steps.append(Step("follow", "estuaire run"))
    for row in (r for r in arrived if r["error_code"]):
        place = f"{row['hospital_id']}/{row['delivery_id']}"
        kind = _kind(row)
        commands = {
            "retry": f"estuaire retry {quote(place)}",
            "confirm": f"estuaire confirm {quote(row['hospital_id'])} {quote(row['delivery_id'])} --by NAME",
        }
        command = commands.get(kind, "estuaire run")
        # what a held delivery would end stands beside it, in the reader's language
        steps.append(Step(kind, command, place, "" if kind == "confirm" else row["error_remedy"] or ""))
    steps += [Step("gate", "estuaire run", hospital) for hospital in waiting]
    failed = [r for r in latest_of_each_dag(rows) if r["state"] == "failed"]
    if failed:
        run = failed[-1]["run_id"]
        steps.append(Step("logs", f"estuaire logs {run}", run))
        if not only_refusals(failed[-1], arrived, stages):
            steps.append(Step("rerun", f"estuaire retry {run}", run))
    steps += [
        Step("wait", "estuaire run", f"{r['hospital_id']}/{r['delivery_id']}")
        for r in arrived
        if r["state"] == "arriving"
    ]
    if any(r["state"] == "received" for r in arrived) and not steps:
        steps.append(Step("land", "estuaire run"))
    if not steps:
        steps.append(Step("query", 'estuaire query "select * from antibiotic_consumption"'))
    return steps


def _to_look_at(database: Database, arrived: list[Row]) -> list[Step]:
    """What stopped nothing and wants someone's eye: records set aside, codes without a standard one. Of one hospital, by name."""
    given: dict[str, object] = {"h": [r["hospital_id"] for r in arrived], "d": [r["delivery_id"] for r in arrived]}
    hospitals = sorted({str(r["hospital_id"]) for r in arrived})
    rejected = ledger.fetch(
        database, f"select count(*)::bigint as n from control.rejected_record where {_OF_PLACES}", given
    )
    unmapped = ledger.fetch(
        database,
        "select coalesce(sum(records), 0)::bigint as n from control.code_to_map where hospital_id = any(%(h)s)",
        given,
    )
    steps = []
    if rejected[0]["n"]:
        place = f"{arrived[0]['hospital_id']}/{arrived[0]['delivery_id']}" if len(arrived) == 1 else ""
        steps.append(
            Step(
                "rejected",
                f"estuaire rejected {quote(place or hospitals[0]) if place or len(hospitals) == 1 else ''}".strip(),
                f"{rejected[0]['n']:,}",
            )
        )
    if unmapped[0]["n"]:
        one = f" --hospital {quote(hospitals[0])}" if len(hospitals) == 1 else ""
        steps.append(Step("worklist", f"estuaire worklist{one}", f"{unmapped[0]['n']:,}"))
    return steps
