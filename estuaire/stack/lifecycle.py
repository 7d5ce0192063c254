"""`up`, `down` and `status` of the whole stack: the order of things, and what is mended when a part died."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import psutil

from estuaire.base import addresses, alert_settings, process_identity
from estuaire.base.errors import SetupError
from estuaire.base.settings import Settings
from estuaire.stack import (
    account,
    airflow,
    exporter,
    jdk,
    permissions,
    postgres,
    preflight,
    processes,
    roles,
    superuser,
    watchers,
)
from estuaire.stack.lock import alone
from estuaire.storage import ledger, migrations, pseudonym_key
from estuaire.storage.platform import Platform

Report = Callable[[str], None]
State = Literal["running", "starting", "stalled", "unknown", "stopped"]
START_SECONDS = 180.0
STALLED_SECONDS = 60.0  # heartbeats come every 5 s
_STALLED_WATCH_SECONDS = 15.0  # a machine that wakes up has old heartbeats for a moment
_RESTARTS = 2


@dataclass(frozen=True)
class PartStatus:
    """One server or process. ``heartbeat_age``: seconds since it last did its work, where it tells."""

    name: str
    state: State
    pid: int | None
    seconds_up: float | None
    memory_mib: float | None
    heartbeat_age: float | None


@dataclass(frozen=True)
class UpResult:
    """What `up` did. ``started`` is empty when all was running; ``new_password`` on the very first start only.

    ``repaired``: what it found open to other accounts, in one sentence; empty where nothing was.
    """

    started: tuple[str, ...]
    seconds: float
    url: str
    new_password: str | None
    repaired: str = ""


def up(settings: Settings, report: Report = lambda _: None) -> UpResult:
    """Start what does not run, and wait until all parts do their work; mend roles, rights of files and the ledger, even where all runs.

    Raises:
        SetupError: the machine or the configuration does not allow it (nothing was started), a secret is lost or damaged, or a part
            does not start.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    begin = time.monotonic()
    alert_settings.prepare(settings)
    with alone(settings, report):
        if not settings.postgres_host and superuser.repair(settings):
            report("the password of PostgreSQL's superuser was lost; it has one again")
        if not _needs_work(settings):
            repaired = _mend(settings, report)
            return UpResult((), time.monotonic() - begin, addresses.base_url(settings), None, repaired)
        report("checking the machine")
        preflight.check(settings)
        java_home = jdk.ensure_jdk(settings, report=report)
        started = []
        if not settings.postgres_host:
            report("starting PostgreSQL")
            started = ["postgres"] if postgres.start(settings) else []
        repaired = _mend(settings, report)
        new_password = airflow.prepare(settings)
        env = airflow.environment(settings, java_home)
        report("bringing Airflow's database to this version")
        airflow.migrate(settings, env)
        watchers.forget_unreadable(settings)
        report("starting Airflow")
        for name in airflow.COMMANDS:
            if processes.find(settings, name) is None:
                airflow.start(settings, name, env)
                started.append(name)
        if settings.metrics_port and processes.find(settings, exporter.NAME) is None:
            exporter.start(settings)
            started.append(exporter.NAME)
        _wait_healthy(settings, env, report)
        return UpResult(
            started=tuple(started),
            seconds=time.monotonic() - begin,
            url=addresses.base_url(settings),
            new_password=settings.secret(airflow.ADMIN_SECRET) if new_password else None,
            repaired=repaired,
        )


def _mend(settings: Settings, report: Report) -> str:
    """What every `up` sees to once PostgreSQL runs: rights of files, roles (an external server's are `estuaire init`'s), the platform's
    tables, the pseudonym key, attempts whose process is gone. Returns what it closed to other accounts, in one sentence."""
    user = None if settings.postgres_host else account.server_user()
    repaired = permissions.repair(settings, user[0] if user else None).sentence()
    if not settings.postgres_host:
        postgres.open_way(settings, user)
        roles.ensure(settings, postgres.ensure_passwords(settings))
    report("bringing the platform's tables to this version")
    platform = Platform(settings)
    migrations.upgrade(platform.database)
    pseudonym_key.ensure(platform)
    ledger.abandon_dead(platform.database)
    return repaired


def down(settings: Settings, report: Report = lambda _: None) -> bool:
    """Stop everything in reverse order and leave no process; True when something was running."""
    with alone(settings, report):
        own_server = not settings.postgres_host and postgres.is_running(settings)
        anything = bool(processes.belonging(settings)) or own_server
        for name in (exporter.NAME, "scheduler", "triggerer", "dag-processor", "api-server"):
            if processes.find(settings, name) or processes.belonging(settings, name):
                report(f"stopping {name}")
            processes.stop(settings, name)
        processes.kill(processes.belonging(settings, keep={postgres.NAME}))
        if not settings.postgres_host:
            if postgres.is_running(settings):
                report("stopping PostgreSQL")
            postgres.stop(settings)
        processes.kill(processes.belonging(settings))
        return anything


def status(settings: Settings) -> list[PartStatus]:
    """State of every part by what it does, not only by its being alive."""
    server = None if settings.postgres_host else postgres.postmaster(settings)
    answering = (server is not None or bool(settings.postgres_host)) and postgres.answers(settings)
    if settings.postgres_host:
        parts = [PartStatus(postgres.NAME, "running" if answering else "stopped", None, None, None, None)]
    else:
        parts = [_part(postgres.NAME, server, "running" if answering else "starting", None)]
    beats = airflow.heartbeats(settings) if processes.find(settings, "api-server") else None
    now = datetime.now(UTC)
    database_up = _seconds_up(server.pid) if server and answering else float("inf") if answering else 0.0
    for name in airflow.COMMANDS:
        beat = (beats or {}).get(name)
        age = (now - beat).total_seconds() if beat else None
        record = processes.read_record(settings, name)
        seconds_up = min(_seconds_up(record.pid), database_up) if record else 0.0
        if name == "api-server":
            state: State = "running" if beats is not None else _late(seconds_up)
        else:
            state = judge(age, seconds_up) if beats is not None else "unknown"
        parts.append(_part(name, processes.find(settings, name), state, age))
    if settings.metrics_port:
        state = "running" if exporter.answers(settings) else "starting"
        parts.append(_part(exporter.NAME, processes.find(settings, exporter.NAME), state, None))
    return parts


def judge(heartbeat_age: float | None, seconds_up: float) -> State:
    """State of a live process from the age of its heartbeat.

    Args:
        seconds_up: of the process or of the database, whichever is less. An older heartbeat is no evidence: it is that of a
            killed predecessor, or of a process that is ending because the database went away under it.
    """
    if heartbeat_age is not None and heartbeat_age < min(seconds_up, STALLED_SECONDS):
        return "running"
    return _late(seconds_up)


def _seconds_up(pid: int) -> float:
    return process_identity.seconds_up(pid) or 0.0


def _late(seconds_up: float) -> State:
    return "starting" if seconds_up < STALLED_SECONDS else "stalled"


def _part(name: str, process: psutil.Process | None, state_if_alive: State, age: float | None) -> PartStatus:
    if process is not None:
        with contextlib.suppress(psutil.Error), process.oneshot():
            return PartStatus(
                name=name,
                state=state_if_alive,
                pid=process.pid,
                seconds_up=round(_seconds_up(process.pid), 1),
                memory_mib=round(process.memory_info().rss / 1024**2, 1),
                heartbeat_age=round(age, 1) if age is not None else None,
            )
    return PartStatus(name, "stopped", None, None, None, None)


def _needs_work(settings: Settings) -> bool:
    return any(part.state != "running" for part in status(settings))


def _wait_healthy(settings: Settings, env: dict[str, str], report: Report) -> None:
    """Wait until every part is running; a process that ends or stalls meanwhile is started again, twice at most.

    Raises:
        SetupError: a part does not come up.
    """
    limit = time.monotonic() + START_SECONDS
    restarts = dict.fromkeys(airflow.COMMANDS, 0)
    stalled_since: dict[str, float] = {}
    said = ""
    while True:
        parts = [part for part in status(settings) if part.state != "running"]
        if not parts:
            return
        waiting = "waiting for " + ", ".join(part.name for part in parts)
        if waiting != said:
            report(waiting)
            said = waiting
        now = time.monotonic()
        stalled_since = {p.name: stalled_since.get(p.name, now) for p in parts if p.state == "stalled"}
        for part in parts:
            if part.name not in restarts:
                continue
            stuck = now - stalled_since.get(part.name, now) > _STALLED_WATCH_SECONDS
            if part.state != "stopped" and not stuck:
                continue
            restarts[part.name] += 1
            if restarts[part.name] > _RESTARTS:
                raise _did_not_start(settings, part.name)
            report(f"{part.name} {'does nothing' if stuck else 'ended'}: starting it again")
            processes.stop(settings, part.name)
            airflow.start(settings, part.name, env)
            stalled_since.pop(part.name, None)
        if now > limit:
            raise _did_not_start(settings, parts[0].name)
        time.sleep(0.3)


def _did_not_start(settings: Settings, name: str) -> SetupError:
    log = processes.log_file(settings, name)
    return SetupError(f"{name} does not start", remedy=f"read {log} (`estuaire logs {name}`), then `estuaire up` again")
