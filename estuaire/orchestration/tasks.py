"""The DAGs' tasks as plain functions of the platform, or its database, and a ledger run id. Airflow only calls them."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from dataclasses import dataclass

from estuaire import __version__
from estuaire.base import disk_space, faults, progress
from estuaire.base.errors import ErrorFields, EstuaireError, GateBlocked, RestoreRefused, RunFailed
from estuaire.base.metering import Meter
from estuaire.base.run_names import INGEST, PUBLISH
from estuaire.base.settings import PROJECT_ROOT
from estuaire.contract.registry import Registry
from estuaire.deliveries import landing_scan
from estuaire.report.files import build_quietly
from estuaire.storage import error_columns, ledger, restore_mark
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform
from estuaire.warehouse import dbt_page


@dataclass(frozen=True)
class Discovery:
    """What a scan of landing/ means for the run. ``hospitals`` each get a gate task; ``go`` is false where nothing is to be done."""

    hospitals: list[str]
    go: bool


def downstream_work(platform: Platform) -> bool:
    """Whether landed data waits to be consolidated, loaded or published (an earlier run may have died on the way)."""
    waiting = ledger.fetch(
        platform.database,
        "select 1 from control.load where not exists (select 1 from control.release where state = 'published') union all "
        "select 1 from control.load l, control.release r where r.state = 'published' and l.updated_at > r.published_at "
        "limit 1",
    )
    if waiting:
        return True
    from estuaire.orchestration import consolidation_inputs
    from estuaire.warehouse import staging_content

    return bool(consolidation_inputs.changed(platform) or staging_content.pending(platform))


def discover(platform: Platform, run_id: str) -> Discovery:
    """Begin the run, scan landing/ and bring the ledger up to it. A failure is the run's own message, so that it is not lost."""
    ledger.start_run(platform.database, run_id, INGEST)
    try:
        return _discover(platform, run_id)
    except BaseException as error:
        ours = error if isinstance(error, EstuaireError) else None
        text, fields = "discovery did not finish", ours.fields if ours else None
        if ours is None:
            text = f"{text}: {type(error).__name__}"
        with suppress(
            Exception
        ):  # without a database there is nowhere to note it: what happened is raised all the same
            if ours is not None and not ours.retryable:
                ledger.end_run(platform.database, run_id, "failed", text, fields)
            else:  # it is tried again; `accept` ends the run where that does not help
                ledger.note_run(platform.database, run_id, text, fields)
        raise


def _discover(platform: Platform, run_id: str) -> Discovery:
    from estuaire.orchestration import consolidation_inputs

    if restore_mark.unfinished(platform.store):
        raise RestoreRefused(
            "a restore into this platform ended half-way: nothing is taken up until it is whole",
            remedy="run the restore again (docs/engineers/backup.md), then start a run",
        )
    scan = landing_scan.discover(platform, run_id)
    waiting = ledger.fetch(
        platform.database, "select distinct hospital_id from control.delivery where state = 'received'"
    )
    hospitals = sorted({*scan.hospitals, *(r["hospital_id"] for r in waiting)})
    consolidation_inputs.forget_blocks(platform)
    go = bool(hospitals) or downstream_work(platform)
    notes = [*scan.notes, *registry_notes(platform.registry)]
    if not go:
        message = f"nothing new: all {scan.unchanged} deliveries were received before"
        ledger.end_run(platform.database, run_id, "nothing_new", "; ".join([message, *notes]))
    elif notes:
        ledger.note_run(platform.database, run_id, "; ".join(notes))
    return Discovery(hospitals, go)


def registry_notes(registry: Registry) -> list[str]:
    """One sentence where files of the registry are wrong: their hospitals are held back."""
    if not registry.wrong:
        return []
    told = "; ".join(f"{h}: {error.what}" for h, error in sorted(registry.wrong.items()))
    return [f"held back for their entry in the registry: {told}"]


def hospital_verdict(database: Database, run_id: str, hospital: str) -> list[str]:
    """What happened to the hospital's deliveries in this run, one line each; the gate reads, it never judges. What an earlier run blocked
    is told, and is no block of this one.

    Raises:
        GateBlocked: this run blocked one or more; the sentence holds each delivery's typed error and remedy.
    """
    rows = ledger.fetch(
        database,
        f"select d.delivery_id, d.state, {error_columns.of('d')}, v.verdict, coalesce(nullif(v.reasons, ''), v.error_code) as reasons, "
        # a landed delivery keeps the run that landed it, whatever is found of it later
        "d.run_id = r.run_id or d.updated_at >= r.started_at as of_this_run from control.run r "
        "join control.delivery d on d.hospital_id = %s "
        "left join quality.verdict v on v.run_id = r.run_id and v.stage = 'landed' and v.hospital_id = d.hospital_id "
        "and v.delivery_id = d.delivery_id where r.run_id = %s and (d.run_id = r.run_id or d.error_code is not null) "
        "order by d.sequence nulls last, d.delivery_id",
        (hospital, run_id),
    )
    blocked = [r for r in rows if r["error_code"] is not None and r["of_this_run"]]
    if blocked:
        raise GateBlocked(
            "; ".join(error.sentence() for r in blocked if (error := error_columns.read(r)) is not None),
            hospital=hospital,
            remedy="mend what each error names; the other deliveries went on",
        )
    return [
        f"{r['delivery_id']}: {r['state']} before this run ({r['error_code']})"
        if r["error_code"] is not None
        else f"{r['delivery_id']}: {r['verdict'] or r['state']}{' - ' + r['reasons'] if r['reasons'] else ''}"
        for r in rows
    ]


def audited_hospitals(database: Database, run_id: str) -> list[str]:
    """Hospitals whose consolidated records the gate judged in this run: each gets a gate task."""
    rows = ledger.fetch(
        database,
        "select hospital_id from quality.verdict where run_id = %s and stage = 'consolidated' order by 1",
        (run_id,),
    )
    return [r["hospital_id"] for r in rows]


def consolidated_verdict(database: Database, run_id: str, hospital: str) -> str:
    """What the gate decided on a hospital's consolidated records; it reads, it never judges.

    Raises:
        GateBlocked: they are blocked; the hospital's former records stay in use.
    """
    [row] = ledger.fetch(
        database,
        f"select verdict, reasons, {error_columns.COLUMNS} from quality.verdict "
        "where run_id = %s and stage = 'consolidated' and hospital_id = %s",
        (run_id, hospital),
    )
    if row["verdict"] == "block":
        raise GateBlocked(
            f"its consolidated records did not pass: {error_columns.reasons(row)}",
            hospital=hospital,
            remedy="correct the cause that the rules name (a corrected delivery, a code map); the others went on",
        )
    return f"{row['verdict']}{': ' + row['reasons'] if row['reasons'] else ''}"


def release_verdict(database: Database, run_id: str, gate: str) -> str:
    """What a gate (conformed or marts) decided on the release that the run built; it reads, it never judges.

    Raises:
        GateBlocked: the release is blocked, the last one stays served.
        RunFailed: the run did not come as far as this gate.
    """
    rows = ledger.fetch(
        database,
        "select verdict, reasons from quality.verdict where run_id = %s and stage = %s and hospital_id = '*'",
        (run_id, gate),
    )
    if rows and rows[0]["verdict"] == "block":
        raise GateBlocked(
            f"gate {gate}: {rows[0]['reasons']}",
            remedy=f"the last release stays served; `estuaire explain {run_id}` says what to do",
        )
    if rows:
        return f"{rows[0]['verdict']}{': ' + rows[0]['reasons'] if rows[0]['reasons'] else ''}"
    built = ledger.fetch(
        database,
        "select message from control.stage_run where run_id = %s and stage = 'publish' and state = 'committed'",
        (run_id,),
    )
    if built:
        return f"nothing to audit: {built[0]['message']}"
    raise RunFailed(
        f"the publication ended before gate {gate}", remedy="read the log of task publish (`estuaire logs`)"
    )


def accept(platform: Platform, run_id: str) -> str | None:
    """End the ingest run: one line on what was landed and blocked, or None where there was nothing new.

    Raises:
        RunFailed: discovery or the landing stage did not finish, whether it began or not; or nothing passed and nothing waits downstream.
    """
    database = platform.database
    runs = ledger.fetch(
        database, f"select state, message, {error_columns.COLUMNS} from control.run where run_id = %s", (run_id,)
    )
    if runs and runs[0]["state"] == "nothing_new":
        return None
    noted = (runs[0]["message"] if runs else None) or ""
    stages = ledger.fetch(
        database,
        f"select state, message, {error_columns.COLUMNS} from control.stage_run where run_id = %s and stage = 'land' "
        "order by token desc limit 1",
        (run_id,),
    )
    if not stages or stages[0]["state"] != "committed":
        # a stage that never began has told nothing; the task that died may have noted on the run what it knew
        teller = stages[0] if stages else runs[0] if runs else None
        error = error_columns.read(teller) if teller else None
        if not stages:
            message = "; ".join(part for part in ("landing did not begin", noted) if part)
        elif error is not None:
            message = "landing did not finish"
        else:
            message = f"landing did not finish: {stages[0]['message'] or stages[0]['state']}"
        _end_failed(platform, run_id, message, error)
        told = f"{message}: {error.sentence()}" if error else message
        raise RunFailed(told, remedy="read the task's log (`estuaire logs`), then `estuaire run` again")
    rows = ledger.fetch(
        database,
        "select count(*) filter (where state = 'landed' and error_code is null) as landed, "
        "count(*) filter (where state = 'blocked') as blocked, count(*) filter (where state = 'held') as held, "
        "count(*) filter (where state = 'received') as waiting from control.delivery where run_id = %s",
        (run_id,),
    )
    landed, blocked, held, waiting = (rows[0][name] for name in ("landed", "blocked", "held", "waiting"))
    counted = (
        f"{landed} deliveries landed, {blocked} blocked"
        + (f", {held} held until they are confirmed" if held else "")
        + (f", {waiting} to be tried again" if waiting else "")
    )
    message = "; ".join(part for part in (counted, noted) if part)
    if not landed and (blocked or waiting or not held) and not downstream_work(platform):
        _end_failed(platform, run_id, message)
        raise RunFailed(message, remedy="mend the deliveries that the gate tasks name, then `estuaire run` again")
    ledger.end_run(database, run_id, "success", message)
    return message


def _end_failed(platform: Platform, run_id: str, message: str, error: ErrorFields | None = None) -> None:
    ledger.end_run(platform.database, run_id, "failed", message, error)
    build_quietly(platform, run_id)


def code_version() -> str:
    """The code that builds a release: its git revision where there is one (in an image: the one it was built from), else the package's
    version."""
    told = PROJECT_ROOT / "REVISION"
    if told.is_file() and (revision := told.read_text(encoding="utf-8").strip()):
        return f"{__version__}+{revision}"
    try:
        done = subprocess.run(
            ["git", "-C", str(PROJECT_ROOT), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
        return f"{__version__}+{done.stdout.strip()}"
    except (OSError, subprocess.SubprocessError):
        return __version__


def publish(platform: Platform, run_id: str, root: str | None, *, full: bool = False) -> str:
    """Build, test and swap in the marts, as one metered stage; one line on the release. Then the run's report, whatever the end.

    Args:
        full: compute every hospital's rows, even where nothing changed.
    """
    try:
        return _publish(platform, run_id, root, full)
    finally:
        build_quietly(platform, run_id)


def _publish(platform: Platform, run_id: str, root: str | None, full: bool) -> str:
    from estuaire.warehouse.publish import build_and_publish

    database = platform.database
    ledger.start_run(database, run_id, PUBLISH, root)
    stage = ledger.begin_stage(database, run_id, "publish")
    faults.reach("stage.begun")
    meter = Meter()
    try:
        with meter, progress.noted(stage):
            snapshot = platform.lake.snapshot()
            outcome = build_and_publish(platform, run_id, snapshot, code_version(), meter=meter, full=full)
    except BaseException as error:
        full = disk_space.typed(error)
        stage.fail(meter.cost(), full or error)
        if full is not None and full is not error:
            ledger.end_run(database, run_id, "failed", error=full.fields)
            raise full from error
        retryable = isinstance(error, EstuaireError) and error.retryable
        if not retryable:
            ours = error.fields if isinstance(error, EstuaireError) else None
            ledger.end_run(database, run_id, "failed", None if ours else type(error).__name__, ours)
        raise
    with database.transaction() as connection, connection.cursor() as cursor:
        built = [(n.kind, n.name, n.seconds) for n in outcome.nodes if n.kind in ("model", "seed")]
        ledger.write_model_builds(cursor, stage, built)
        stage.end(cursor, "committed", meter.cost(), sum((outcome.rows or {}).values()), snapshot, outcome.message)
    faults.reach("publish.ended")
    if outcome.nodes:
        dbt_page.write_quietly(platform.settings, outcome.model_seconds)
    ledger.end_run(database, run_id, "success", outcome.message)
    return outcome.message
