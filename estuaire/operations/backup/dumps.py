"""Databases written to a file and made again from it, by PostgreSQL's own programs."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from psycopg2 import sql

from estuaire.base import private_files
from estuaire.base.errors import BackupUnusable, DatabaseUnavailable, RestoreRefused
from estuaire.base.settings import Settings, conninfo
from estuaire.operations.backup.tls_way import open_way
from estuaire.stack import postgres
from estuaire.storage.database import Database
from estuaire.warehouse.releases import CANDIDATES

Report = Callable[[str], None]
LOCK_SECONDS = 120  # that a program waits for a table which a swap is replacing
_EVERY = 5.0
# the right to some functions of PostgreSQL's own is the administrator's to give (`up`, `init`), not the database owner's
_NOT_OURS = ("pg_catalog", *CANDIDATES)
_CONFLICT = re.compile(r"deadlock detected|lock timeout|could not open relation|does not exist", re.IGNORECASE)


def dump(
    settings: Settings, role: str, database: str, target: Path, *, snapshot: str | None = None,
    report: Report = lambda _: None, locked: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Write a database to ``target`` (pg_dump's custom format), of one moment.

    Args:
        snapshot: the moment: one that a session has exported.
        locked: called once, when no table can be replaced any more until the end.

    Raises:
        BackupUnusable: pg_dump failed; its words name no value.
        DatabaseUnavailable: a table could not be read for another's lock (retryable).
    """
    private_files.new_file(target)
    options = ["--format=custom", "--compress=gzip:3", f"--file={target}", f"--lock-wait-timeout={LOCK_SECONDS}s"]
    options += [f"--exclude-schema={name}" for name in _NOT_OURS]
    options += [f"--snapshot={snapshot}"] if snapshot else []
    said = _run(settings, role, database, "pg_dump", [*options, "--verbose"], target, report, locked)
    if said is not None:
        target.unlink(missing_ok=True)
        if _CONFLICT.search(said):
            raise DatabaseUnavailable(
                f"database {database} was being changed while it was to be written ({said})",
                remedy="run the backup again; best when no publication is under way",
            )
        raise BackupUnusable(
            f"database {database} could not be written: {said}", remedy="mend what it names, then run the backup again"
        )


def restore(settings: Settings, role: str, database: str, source: Path, report: Report = lambda _: None) -> None:
    """Make an empty database again from ``source``, in one transaction: all of it or nothing.

    Raises:
        RestoreRefused: pg_restore failed.
    """
    options = ["--single-transaction", "--exit-on-error", "--no-owner", "--verbose"]
    said = _run(settings, role, database, "pg_restore", [*options, str(source)], None, report, lambda: None)
    if said is not None:
        raise RestoreRefused(
            f"database {database} could not be made again: {said}",
            remedy="mend what it names (roles are made by `estuaire up` or `estuaire init`), then run the restore again",
        )


def empty(settings: Settings, role: str, database: str) -> None:
    """Drop all that the role owns in a database. Only for one of which was seen that it holds nothing to lose."""
    with Database.of(settings).transaction(role, database) as session, session.cursor() as cursor:
        cursor.execute(
            "select nspname from pg_namespace where nspowner = current_user::regrole and nspname !~ '^pg_' and nspname <> 'public'"
        )
        for (schema,) in cursor.fetchall():
            cursor.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(schema)))
        cursor.execute(
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') "
            "and relowner = current_user::regrole"
        )
        tables = [sql.Identifier("public", row[0]) for row in cursor.fetchall()]
        if tables:
            cursor.execute(sql.SQL("drop table {} cascade").format(sql.SQL(", ").join(tables)))
        cursor.execute(
            "select relkind, relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('S', 'v', 'm') "
            "and relowner = current_user::regrole"
        )
        kinds = {"S": "sequence", "v": "view", "m": "materialized view"}
        for kind, name in cursor.fetchall():
            cursor.execute(sql.SQL(f"drop {kinds[kind]} if exists {{}} cascade").format(sql.Identifier("public", name)))
        cursor.execute(
            "select typname from pg_type where typnamespace = 'public'::regnamespace and typtype = 'e' and typowner = current_user::regrole"
        )
        for (name,) in cursor.fetchall():
            cursor.execute(sql.SQL("drop type {} cascade").format(sql.Identifier("public", name)))
        cursor.execute(
            "select oid::regprocedure::text from pg_proc where pronamespace = 'public'::regnamespace and proowner = current_user::regrole"
        )
        for (name,) in cursor.fetchall():
            cursor.execute(f"drop function {name} cascade")


def _run(
    settings: Settings, role: str, database: str, program: str, options: Sequence[str], target: Path | None,
    report: Report, locked: Callable[[], None],
) -> str | None:  # fmt: skip
    """Run one of PostgreSQL's programs; None, or what it said last where it failed."""
    with open_way(settings) as line:
        named = conninfo(line | {"dbname": database, "user": role, "application_name": f"estuaire {program}"})
        command = [str(postgres.bin_dir() / program), f"--dbname={named}", "--no-password", *options]
        process = subprocess.Popen(
            command, env=postgres.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, errors="replace",
        )  # fmt: skip
        errors: list[str] = []
        told, waiting = time.monotonic(), True
        try:
            assert process.stderr is not None  # noqa: S101 - a pipe was asked for
            for text in process.stderr:
                if "error:" in text or (errors and not text.startswith(f"{program}:")):
                    errors.append(text.strip())
                if waiting and re.search(r"dumping contents of table|saving (encoding|database)", text):
                    waiting = False
                    locked()
                if time.monotonic() - told > _EVERY and target is not None:
                    told = time.monotonic()
                    report(f"database {database}: {target.stat().st_size / 2**20:,.0f} MiB written")
            if process.wait() == 0:
                return None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    return _safe(errors) or f"{program} ended with {process.returncode}"


def _safe(errors: Sequence[str]) -> str:
    """What a program said, without the lines that could quote a row (COPY's context, a key's detail)."""
    kept = [line for line in errors if not re.match(r"(CONTEXT|DETAIL|Command was|LINE|HINT)", line)]
    return " ".join(kept)[:600]
