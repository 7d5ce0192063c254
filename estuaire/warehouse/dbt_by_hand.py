"""``make dbt ARGS="build --select +coverage"``: dbt by hand, in schemas of the developer's own.

It reads what staging holds and builds into ``dev_<name>_staging``, ``_conformed``, ``_marts`` and ``_stats``; no command of dbt finds
its way into the served schemas or a candidate, since the project names no schema itself (``generate_schema_name``). Staging is copied, not
shown by views: a view that stays would keep a load from replacing the table under it. What was built holds patients' rows (pseudonyms) and
is the pipeline's role's alone, until ``make dbt ARGS=--drop`` removes it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence

from psycopg2 import sql

from estuaire.base import private_files
from estuaire.base.errors import EstuaireError, SetupError
from estuaire.base.settings import PROJECT_ROOT, Settings, settings
from estuaire.storage.database import Database
from estuaire.warehouse.dbt_build import PROJECT, environment

APPLICATION = (
    "estuaire-dbt-by-hand"  # a publish ends what an earlier publish's dbt left, by its application name: not ours
)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_USAGE = 'give dbt\'s arguments, as in: make dbt ARGS="build --select +coverage" (or ARGS=--drop)'


def prefix(name: str) -> str:
    """The beginning of a developer's schemas.

    Raises:
        SetupError: the name has characters that a schema's name should not have.
    """
    if not _NAME.fullmatch(name):
        raise SetupError(
            f"'{name}' is no name for a schema",
            remedy="give another: small letters, digits and _ (make dbt DEV=marie ...)",
        )
    return f"dev_{name}"


def run(installed: Settings, name: str, arguments: Sequence[str]) -> int:
    """Run one dbt command into ``name``'s schemas, its output on this terminal; dbt's exit code.

    Raises:
        SetupError: the name is none for a schema.
        SecretUnusable: the installation has no database password: nothing was started yet.
    """
    work = installed.root / "dbt-by-hand" / name
    overrides = {
        "ESTUAIRE_DBT_SCHEMA": prefix(name),
        "ESTUAIRE_DBT_APPLICATION": APPLICATION,
        "DBT_PROJECT_DIR": str(PROJECT),
        "DBT_PROFILES_DIR": str(PROJECT),
        "DBT_TARGET_PATH": str(work / "target"),
        "DBT_LOG_PATH": str(work),
        "DBT_LOG_LEVEL_FILE": "none",
        "DBT_INDIRECT_SELECTION": "buildable",  # no test that also reads a model which was not built here
    }
    private_files.folder(work)
    command = [sys.executable, "-m", "estuaire.warehouse.dbt_process", *arguments]
    return subprocess.run(command, env=environment(installed) | overrides, cwd=PROJECT_ROOT, check=False).returncode


def drop(database: Database, name: str) -> list[str]:
    """Drop the developer's schemas; their names.

    Raises:
        SetupError: the name is none for a schema.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    with database.transaction() as session, session.cursor() as cursor:
        cursor.execute(
            "select nspname from pg_namespace where starts_with(nspname, %s) order by 1", (f"{prefix(name)}_",)
        )
        schemas = [str(row[0]) for row in cursor.fetchall()]
        for schema in schemas:
            cursor.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(schema)))
    return schemas


def main(arguments: Sequence[str]) -> int:
    """``NAME ARGUMENTS...``; ``NAME --drop`` removes what was built."""
    private_files.start()
    if len(arguments) < 2:
        sys.stderr.write(f"{_USAGE}\n")
        return 2
    name, *rest = arguments
    try:
        if rest != ["--drop"]:
            return run(settings(), name, rest)
        for schema in drop(Database.of(settings()), name):
            sys.stdout.write(f"dropped {schema}\n")
    except EstuaireError as error:
        sys.stderr.write(f"{error.sentence()}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
