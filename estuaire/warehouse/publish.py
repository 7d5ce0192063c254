"""Publish: build the marts in candidate schemas, test and audit them, and swap them in as one release (see ``estuaire.warehouse.releases``).

Where gates 3 and 4 block a candidate and some hospitals alone broke their rules, it is built once more with those hospitals' last good
content (``estuaire.warehouse.last_good_content``), audited again, and served with a note. The same content is then not judged again before it, the models
or the rules change.
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import structlog
from psycopg2 import sql

from estuaire.base import faults
from estuaire.base.errors import EstuaireError, GateBlocked, PublishFailed
from estuaire.base.metering import Meter
from estuaire.base.settings import Settings
from estuaire.gates import warehouse as gates
from estuaire.gates.attribution import at_fault
from estuaire.gates.gx import warm_up
from estuaire.rules.rule_registry import FOLDER, stage_rules
from estuaire.storage import held_hospitals
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform
from estuaire.warehouse import dbt_build, incremental, last_good_content, releases

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from psycopg2.extensions import connection, cursor

_log = structlog.get_logger(__name__)
_BUILDS = 3  # of one candidate: what one hospital broke can hide what another breaks
_CODE_VERSION = re.compile(r"[\w.+-]{1,100}")


@dataclass(frozen=True)
class PublishOutcome:
    """What a publish did.

    Attributes:
        state: ``published``, or ``unchanged`` when neither staging nor the models differ from the last build.
        release_id: the release that is served now.
        models, tests: how many ran.
        rows: rows of each published mart.
        seconds: in all; ``dbt_seconds`` of them in dbt.
        message: one line for the ledger, with the hospitals held back.
        held_back: hospitals whose newest content is not in the release.
        rebuilt: hospitals whose rows were computed, the others' were taken over from the release served before; None: all were.
        nodes: seeds, models and tests of the build that is served, with their seconds.
    """

    state: Literal["published", "unchanged"]
    release_id: int
    input_hash: str
    message: str
    seconds: float
    dbt_seconds: float = 0.0
    models: int = 0
    tests: int = 0
    rows: dict[str, int] | None = None
    held_back: tuple[str, ...] = ()
    rebuilt: tuple[str, ...] | None = None
    nodes: tuple[dbt_build.Node, ...] = ()

    @property
    def model_seconds(self) -> dict[str, float]:
        """Model or seed -> seconds that it took in the build that is served; several are built at once."""
        return {n.name: n.seconds for n in self.nodes if n.kind in ("model", "seed")}


def build_and_publish(
    platform: Platform,
    run_id: str,
    lake_snapshot: int,
    code_version: str,
    *,
    project: Path = dbt_build.PROJECT,
    rules: Path = FOLDER,
    meter: Meter | None = None,
    full: bool = False,
) -> PublishOutcome:
    """Build and test the marts from what staging holds, let the gates audit them, and serve them as a new release.

    A failure leaves the served release as it is and removes the candidate. A release that was rolled back is not published
    again before its input or the models change (``estuaire rollback --to`` does that on purpose).

    Args:
        rules: the rule registry.
        meter: told how long the gates took.
        full: compute every hospital's rows, even where nothing changed.

    Raises:
        PublishFailed: a model or a test failed (named), or staging changed meanwhile.
        GateBlocked: the candidate broke a rule that blocks, and not by some hospitals alone whose last good content is kept; names
            rules, counts and hospitals. Verdicts and results are kept.
        MartsBusy: another publish runs, or readers did not let go of the marts in time (retryable).
        DatabaseUnavailable: PostgreSQL does not answer (retryable).
    """
    start = time.monotonic()
    if not _CODE_VERSION.fullmatch(code_version):
        raise PublishFailed("the code version has characters that do not belong there", remedy="give a git revision")
    code_hash = dbt_build.project_hash(project)
    with releases.only_publisher(platform.database), releases.connect(platform.database) as session:
        with session.cursor() as cur:
            inputs = input_hash(cur, code_hash)
            served = releases.published(cur)
            same = None if full else _built_before(cur, inputs)
            read = incremental.read_of_each(cur)
            judged_with = _judged_with(code_hash, rules, project)
            held = last_good_content.standing(cur, served, judged_with)
        session.rollback()
        if served is not None and same == served.release_id and held.keys() != served.held_back.keys():
            same = None  # a hospital was held back by rules or models that are others now
        if served is not None and same is not None:
            releases.drop_candidate(session)
            _tidy(platform.database, session)
            note = "" if same == served.release_id else f" (release {same} was rolled back from the same input)"
            return PublishOutcome(
                "unchanged",
                served.release_id,
                inputs,
                "; ".join([f"nothing changed: release {served.release_id} stays served{note}", *served.notes]),
                time.monotonic() - start,
                held_back=tuple(served.held_back),
            )
        _end_leftover_sessions(session)
        candidate = releases.Candidate(
            release_id=releases.reserve_id(session),
            run_id=run_id,
            snapshot_id=lake_snapshot,
            code_version=code_version,
            built_at=datetime.now(UTC),
            input_hash=inputs,
        )
        faults.reach("publish.numbered")
        try:
            warm_up()
            dbt_seconds = 0.0
            for build in range(1, _BUILDS + 1):
                releases.drop_candidate(session)
                rebuilt = None if full else incremental.to_rebuild(served, code_hash, read, held)
                nodes, seconds = _build(
                    platform.settings, candidate, project, last_good_content.lay_out(session, held), held, rebuilt
                )
                dbt_seconds += seconds
                faults.reach("publish.built", session)
                with (meter or Meter()).gate():
                    findings = _audit(platform, session, run_id, rules, project, held)
                faults.reach("publish.judged")
                error = gates.blocked(findings)
                if error is None:
                    break
                more, why_not = _to_hold(session, served, judged_with, findings, held)
                if not more or build == _BUILDS:
                    raise GateBlocked(f"{error.what}{why_not}", remedy=error.remedy)
                _log.info("hospitals_held_back", run_id=run_id, hospitals=sorted(more))
                held |= more
            with session.cursor() as cur:
                built_from = {"code": code_hash, "hospitals": read, "rebuilt": rebuilt}
                candidate = replace(candidate, held_back=held, contents=_contents(cur, held), built_from=built_from)
            session.rollback()
            release = releases.swap_in(platform, candidate, lambda cur: _still(cur, code_hash, inputs, read))
            faults.reach("publish.served")
        finally:  # after a swap only the staging views are left to drop
            releases.drop_candidate(session)
        _tidy(platform.database, session)
        rows = _row_counts(session)
    _log.info("published", release_id=release.release_id, run_id=run_id, dbt_seconds=round(dbt_seconds, 1))
    return PublishOutcome(
        "published",
        release.release_id,
        inputs,
        "; ".join([f"release {release.release_id} is served", *_taken_over(served, rebuilt), *release.notes]),
        time.monotonic() - start,
        dbt_seconds,
        models=sum(n.kind == "model" for n in nodes),
        tests=sum(n.kind == "test" for n in nodes),
        rows=rows,
        held_back=tuple(release.held_back),
        rebuilt=rebuilt,
        nodes=tuple(nodes),
    )


def _taken_over(served: releases.Release | None, rebuilt: Sequence[str] | None) -> list[str]:
    if served is None or rebuilt is None:
        return []
    return [f"computed anew: {', '.join(rebuilt)}; the other hospitals' rows are release {served.release_id}'s"]


def input_hash(cur: cursor, code_hash: str) -> str:
    """SHA-256 of what a build depends on: loaded content of each hospital, registry and patient map rows, and dbt's code (models, seeds,
    and the statistics functions that they call)."""
    digest = hashlib.sha256(code_hash.encode())
    cur.execute("select to_regclass('staging.patient_map') is not null")
    if not releases.one(cur)[0]:
        raise PublishFailed("staging has never been filled", remedy="run the load stage first")
    for hospital_id, content_hash in last_good_content.loaded(cur).items():
        digest.update(f"\0{hospital_id}={content_hash}".encode())
    for table in ("hospital", "patient_map"):  # rebuilt by each load, and no hospital's content
        cur.execute(f"select count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) from staging.{table} as t")
        digest.update(f"\0{table}={releases.one(cur)}".encode())
    return digest.hexdigest()


def _still(cur: cursor, code_hash: str, inputs: str, read: Mapping[str, str]) -> bool:
    """Whether staging is what the candidate was built from; until the swap has ended no load replaces it (and keeps what was served)."""
    cur.execute("lock table control.load in share mode")
    return input_hash(cur, code_hash) == inputs and incremental.read_of_each(cur) == read


def _built_before(cur: cursor, inputs: str) -> int | None:
    """The release built from the same input, if it is the served one or was rolled back after it."""
    cur.execute(
        "select release_id from control.release where input_hash = %s and (state = 'published' or (state = 'rolled_back' "
        "and release_id = (select max(release_id) from control.release))) order by state limit 1",
        (inputs,),
    )
    row = cur.fetchone()
    return None if row is None else int(row[0])


def _build(
    settings: Settings,
    candidate: releases.Candidate,
    project: Path,
    staging: str,
    held: Mapping[str, held_hospitals.Held],
    rebuilt: Sequence[str] | None,
) -> tuple[list[dbt_build.Node], float]:
    start = time.monotonic()
    nodes = dbt_build.run(
        settings,
        # Unit tests prove the code, not the data: they run in the test suite. What the gates count need not be counted a third time.
        ["build", "--selector=publish", "--exclude-resource-type=unit_test"],
        log=settings.logs / "publish" / f"release_{candidate.release_id}.log",
        release={
            "ESTUAIRE_RELEASE_ID": str(candidate.release_id),
            "ESTUAIRE_LAKE_SNAPSHOT": str(candidate.snapshot_id),
            "ESTUAIRE_BUILT_AT": candidate.built_at.isoformat(),
            "ESTUAIRE_CODE_VERSION": candidate.code_version,
            "ESTUAIRE_STAGING_SCHEMA": staging,
            "ESTUAIRE_HELD_BACK": ", ".join(sorted(held)),
            "ESTUAIRE_REBUILT": ",".join(rebuilt or ()),
        },
        project=project,
    )
    return nodes, time.monotonic() - start


def _judged_with(code_hash: str, rules: Path, project: Path) -> str:
    """What a hospital was held back by: the models and the rules."""
    judged = [stage_rules(stage, rules, project / "models") for stage in gates.STAGES]
    return hashlib.sha256(f"{code_hash} {judged!r}".encode()).hexdigest()


def _to_hold(
    session: connection,
    served: releases.Release | None,
    judged_with: str,
    findings: Sequence[gates.Finding],
    held: Mapping[str, held_hospitals.Held],
) -> tuple[dict[str, held_hospitals.Held], str]:
    """Hospitals to hold back so that the rest can be served; where that is not to be had none, and why, if some hospitals broke the rules.

    More than half of the hospitals at fault is no hospital's fault: a rule or a model is wrong.
    """
    broken = {h: reasons for h, reasons in at_fault(findings).items() if h not in held}
    if not broken:
        return {}, ""
    with session.cursor() as cur:
        known = len(last_good_content.loaded(cur))
        newly_held = last_good_content.hold(cur, served, judged_with, broken)
    session.rollback()
    named = ", ".join(sorted(broken))
    if 2 * len({*broken, *held}) > known:
        return {}, f". Not held back: {named}, with those held back already more than half of {known} hospitals"
    if newly_held is None:
        return {}, f". Not held back: {named}, of which what is served is this very content, or is no longer kept"
    return newly_held, ""


def _contents(cur: cursor, held: Mapping[str, held_hospitals.Held]) -> dict[str, str | None]:
    """Hospital -> content that a candidate was built from; without those that it has nothing of."""
    kept = {h: one.serves for h, one in held.items()}
    return {
        h: kept.get(h, content)
        for h, content in last_good_content.loaded(cur).items()
        if kept.get(h, content) is not None
    }


def _audit(
    platform: Platform,
    session: connection,
    run_id: str,
    rules: Path,
    project: Path,
    held: Mapping[str, held_hospitals.Held],
) -> list[gates.Finding]:
    """Let the gates look at the candidate."""
    with session.cursor() as cur:
        cur.execute("select hospital_id from staging.hospital where calendar = 'shifted' order by 1")
        shifted = [row[0] for row in cur.fetchall()]
    session.rollback()
    return gates.audit(
        platform,
        session,
        run_id,
        shifted,
        folder=rules,
        models=project / "models",
        held_back={h: one.reasons for h, one in held.items()},
    )


def _end_leftover_sessions(session: connection) -> None:
    """End sessions of a dbt that a killed publish left behind (we hold the publish lock: none is another's)."""
    with session.cursor() as cur:
        cur.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
            "where application_name = %s and usename = current_user and datname = current_database()",
            (dbt_build.APPLICATION,),
        )
    session.commit()


def _tidy(database: Database, session: connection) -> None:
    """Drop what a served release leaves behind: old archives, and contents kept for it. A publish with nothing to do looks as well: the one
    that served the release may have been killed before it came to this. What cannot be dropped now goes with the next one."""
    try:
        dropped = releases.prune(database)
    except EstuaireError as error:
        _log.warning("archives_not_dropped", code=error.code)
    else:
        if dropped:
            _log.info("archives_dropped", releases=dropped)
    faults.reach("publish.pruned")
    last_good_content.tidy(session)


def _row_counts(session: connection) -> dict[str, int]:
    counts = {}
    with session.cursor() as cur:
        cur.execute("select tablename from pg_tables where schemaname = 'marts' order by tablename")
        for (name,) in cur.fetchall():
            cur.execute(sql.SQL("select count(*) from {}").format(sql.Identifier("marts", name)))
            counts[name] = int(releases.one(cur)[0])
    session.rollback()
    return counts
