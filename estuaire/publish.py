"""Publish: build the marts in candidate schemas, test and audit them, and swap them in as one release (see ``estuaire.releases``)."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import structlog
from psycopg2 import sql

from estuaire import dbt_build, releases
from estuaire.errors import EstuaireError, PublishFailed
from estuaire.gates import warehouse as gates
from estuaire.gates.gx import warm_up
from estuaire.gates.keys import counted_by_gates
from estuaire.metering import Meter
from estuaire.rules import FOLDER
from estuaire.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from psycopg2.extensions import connection, cursor

_log = structlog.get_logger(__name__)
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
        message: one line for the ledger.
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


def build_and_publish(
    settings: Settings,
    run_id: str,
    lake_snapshot: int,
    code_version: str,
    *,
    project: Path = dbt_build.PROJECT,
    rules: Path = FOLDER,
    meter: Meter | None = None,
    before_gates: Callable[[connection], None] | None = None,
) -> PublishOutcome:
    """Build and test the marts from what staging holds, let the gates audit them, and serve them as a new release.

    A failure leaves the served release as it is and removes the candidate. A release that was rolled back is not published
    again before its input or the models change (``estuaire rollback --to`` does that on purpose).

    Args:
        rules: the rule registry.
        meter: told how long the gates took.
        before_gates: for tests: called with the owner's session when the candidate is built and not audited yet.

    Raises:
        PublishFailed: a model or a test failed (named), or staging changed meanwhile.
        GateBlocked: the candidate broke a rule that blocks; names rules, counts and hospitals. Verdicts and results are kept.
        MartsBusy: another publish runs, or readers did not let go of the marts in time (retryable).
        DatabaseUnavailable: PostgreSQL does not answer (retryable).
    """
    start = time.monotonic()
    if not _CODE_VERSION.fullmatch(code_version):
        raise PublishFailed("the code version has characters that do not belong there", remedy="give a git revision")
    code_hash = dbt_build.project_hash(project)
    with releases.only_publisher(settings), releases.connect(settings) as session:
        with session.cursor() as cur:
            inputs = input_hash(cur, code_hash)
            served = releases.published(cur)
            same = _built_before(cur, inputs)
        session.rollback()
        if served is not None and same is not None:
            note = "" if same == served.release_id else f" (release {same} was rolled back from the same input)"
            return PublishOutcome(
                "unchanged",
                served.release_id,
                inputs,
                f"nothing changed: release {served.release_id} stays served{note}",
                time.monotonic() - start,
            )
        _end_leftover_sessions(session)
        releases.drop_candidate(session)
        candidate = releases.Candidate(
            release_id=releases.reserve_id(session),
            run_id=run_id,
            snapshot_id=lake_snapshot,
            code_version=code_version,
            built_at=datetime.now(UTC),
            input_hash=inputs,
        )
        try:
            warm_up()
            nodes, dbt_seconds = _build(settings, candidate, project, rules)
            if before_gates is not None:
                before_gates(session)
            with (meter or Meter()).gate():
                _audit(settings, session, run_id, rules, project)
            release = releases.swap_in(settings, candidate, lambda cur: input_hash(cur, code_hash) == inputs)
        finally:  # after a swap only the staging views are left to drop
            releases.drop_candidate(session)
        _prune(settings)
        rows = _row_counts(session)
    _log.info("published", release_id=release.release_id, run_id=run_id, dbt_seconds=round(dbt_seconds, 1))
    return PublishOutcome(
        "published",
        release.release_id,
        inputs,
        f"release {release.release_id} is served",
        time.monotonic() - start,
        dbt_seconds,
        models=sum(n.kind == "model" for n in nodes),
        tests=sum(n.kind == "test" for n in nodes),
        rows=rows,
    )


def input_hash(cur: cursor, code_hash: str) -> str:
    """SHA-256 of what a build depends on: loaded content of each hospital, registry and patient map rows, dbt's code."""
    digest = hashlib.sha256(code_hash.encode())
    cur.execute("select to_regclass('staging.patient_map') is not null")
    if not releases.one(cur)[0]:
        raise PublishFailed("staging has never been filled", remedy="run the load stage first")
    cur.execute("select hospital_id, content_hash from control.load order by hospital_id")
    for hospital_id, content_hash in cur.fetchall():
        digest.update(f"\0{hospital_id}={content_hash}".encode())
    for table in ("hospital", "patient_map"):  # rebuilt by each load, and no hospital's content
        cur.execute(f"select count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) from staging.{table} as t")
        digest.update(f"\0{table}={releases.one(cur)}".encode())
    return digest.hexdigest()


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
    settings: Settings, candidate: releases.Candidate, project: Path, rules: Path
) -> tuple[list[dbt_build.Node], float]:
    start = time.monotonic()
    nodes = dbt_build.run(
        settings,
        # Unit tests prove the code, not the data: they run in the test suite. What the gates count need not be counted a third time.
        [
            "build",
            "--exclude-resource-type=unit_test",
            *(f"--exclude={key}" for key in counted_by_gates(rules, project / "models")),
        ],
        log=settings.logs / "publish" / f"release_{candidate.release_id}.log",
        release={
            "ESTUAIRE_RELEASE_ID": str(candidate.release_id),
            "ESTUAIRE_LAKE_SNAPSHOT": str(candidate.snapshot_id),
            "ESTUAIRE_BUILT_AT": candidate.built_at.isoformat(),
            "ESTUAIRE_CODE_VERSION": candidate.code_version,
        },
        project=project,
    )
    return nodes, time.monotonic() - start


def _audit(settings: Settings, session: connection, run_id: str, rules: Path, project: Path) -> None:
    """Let the gates look at the candidate; raises GateBlocked."""
    with session.cursor() as cur:
        cur.execute("select hospital_id from staging.hospital where calendar = 'shifted' order by 1")
        shifted = [row[0] for row in cur.fetchall()]
    session.rollback()
    findings = gates.audit(settings, session, run_id, shifted, folder=rules, models=project / "models")
    error = gates.blocked(findings)
    if error is not None:
        raise error


def _end_leftover_sessions(session: connection) -> None:
    """End sessions of a dbt that a killed publish left behind (we hold the publish lock: none is another's)."""
    with session.cursor() as cur:
        cur.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
            "where application_name = %s and usename = current_user and datname = current_database()",
            (dbt_build.APPLICATION,),
        )
    session.commit()


def _prune(settings: Settings) -> None:
    """Drop old archives; what cannot be dropped now goes with the next release."""
    try:
        dropped = releases.prune(settings)
    except EstuaireError as error:
        _log.warning("archives_not_dropped", code=error.code)
    else:
        if dropped:
            _log.info("archives_dropped", releases=dropped)


def _row_counts(session: connection) -> dict[str, int]:
    counts = {}
    with session.cursor() as cur:
        cur.execute("select tablename from pg_tables where schemaname = 'marts' order by tablename")
        for (name,) in cur.fetchall():
            cur.execute(sql.SQL("select count(*) from {}").format(sql.Identifier("marts", name)))
            counts[name] = int(releases.one(cur)[0])
    session.rollback()
    return counts
