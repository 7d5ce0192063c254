"""Runs dbt in a process of its own and reads its verdict.

Security property: the password goes to dbt by its environment, under a name that dbt scrubs from its logs, never in an
argument; an error names nodes and counts, never a row's value.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from estuaire.base import progress
from estuaire.base.errors import PublishFailed
from estuaire.base.settings import PROJECT_ROOT, Settings

PROJECT = PROJECT_ROOT / "dbt_project"
APPLICATION = "estuaire-publish"  # profiles.yml: how a session that dbt left behind is told from others
_LOOK_SECONDS = 5.0  # between two looks at whether its log grows
_CODE = (".sql", ".yml", ".csv")
_FAILED = ("error", "fail", "runtime error")


@dataclass(frozen=True)
class Node:
    """One seed, model or test of a dbt run. ``failures`` counts the rows that a test found."""

    name: str
    kind: str
    status: str
    failures: int
    seconds: float

    @property
    def failed(self) -> bool:
        return self.status in _FAILED


def project_hash(folder: Path = PROJECT) -> str:
    """SHA-256 over every file of the project that can change a result (paths and bytes)."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in _CODE and p.is_file()):
        relative = path.relative_to(folder)
        if relative.parts[0] in ("target", "logs"):
            continue
        digest.update(relative.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def manifest_file(settings: Settings) -> Path:
    """dbt's manifest of the last command that ``run`` ran: every node, with the SQL that it was compiled to."""
    return settings.root / "dbt" / "target" / "manifest.json"


def environment(settings: Settings) -> dict[str, str]:
    """Environment of a dbt process that works on this installation's warehouse."""
    line = settings.postgres_line()
    return {
        **os.environ,
        "ESTUAIRE_PG_HOST": line["host"],
        "ESTUAIRE_PG_PORT": line["port"],
        "ESTUAIRE_PG_SSLMODE": line.get("sslmode", ""),
        "ESTUAIRE_PG_SSLROOTCERT": line.get("sslrootcert", ""),
        "ESTUAIRE_PG_USER": "estuaire",
        "ESTUAIRE_PG_DATABASE": settings.postgres_database,
        "DBT_ENV_SECRET_PG_PASSWORD": settings.secret("postgres_estuaire"),
        "ESTUAIRE_DBT_SCHEMA": "",  # candidate schemas, whatever this process was given (estuaire.warehouse.dbt_by_hand)
        "ESTUAIRE_DBT_APPLICATION": APPLICATION,
        "ESTUAIRE_REBUILT": "",  # every row is computed, but where a publish says otherwise
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
    }


def run(
    settings: Settings,
    command: Sequence[str],
    *,
    log: Path,
    release: Mapping[str, str] | None = None,
    project: Path = PROJECT,
    timeout: float = 3600.0,
) -> list[Node]:
    """Run one dbt command (``["build", ...]``) and return its nodes, all of which passed or warned.

    Args:
        release: environment variables that the models' lineage columns read (``ESTUAIRE_RELEASE_ID``...).
        log: where dbt's output goes, mode 0600 (a database's own words may quote a value).

    Raises:
        PublishFailed: dbt could not run, took too long, or a node failed; the error names the nodes.
    """
    work = settings.root / "dbt"
    results = work / "target" / "run_results.json"
    results.unlink(missing_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = [
        sys.executable,
        "-m",
        "estuaire.warehouse.dbt_process",
        *command,
        f"--project-dir={project}",
        f"--profiles-dir={project}",
        f"--target-path={work / 'target'}",
        f"--log-path={work}",
        "--log-level-file=none",
        "--no-use-colors",
    ]
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(handle, "wb") as output:
        process = subprocess.Popen(
            arguments,
            env={**environment(settings), **(release or {})},
            cwd=PROJECT_ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            code = _ended(process, log, timeout)
        except subprocess.TimeoutExpired:
            raise PublishFailed(
                f"dbt did not end within {timeout:.0f} s", remedy=f"read {log}; look for a lock or a full disk"
            ) from None
        finally:
            if process.poll() is None:  # a timeout, or the task that runs us is being stopped
                process.kill()
                process.wait()
    nodes = _nodes(results)
    broken = [node for node in nodes if node.failed]
    if broken or code != 0:
        raise PublishFailed(_what(broken, code), remedy=f"read {log}, correct the cause and publish again")
    return nodes


def _ended(process: subprocess.Popen[bytes], log: Path, timeout: float) -> int:
    """The process's exit code; a log that grows meanwhile is noted as progress.

    Raises:
        subprocess.TimeoutExpired: it did not end in time.
    """
    until, said = time.monotonic() + timeout, log.stat().st_size
    while True:
        left = until - time.monotonic()
        try:
            return process.wait(min(_LOOK_SECONDS, max(left, 0)))
        except subprocess.TimeoutExpired:
            if left <= _LOOK_SECONDS:
                raise
        if (size := log.stat().st_size) != said:
            said = size
            progress.made()


def _nodes(results: Path) -> list[Node]:
    try:
        raw = json.loads(results.read_text(encoding="utf-8"))["results"]
    except FileNotFoundError:  # dbt ended before it ran anything
        return []
    return [
        Node(
            name=_name(r["unique_id"]),
            kind=r["unique_id"].split(".")[0],
            status=r["status"],
            failures=r.get("failures") or 0,
            seconds=r["execution_time"],
        )
        for r in raw
    ]


def _name(unique_id: str) -> str:
    # test.estuaire.unique_patient_patient_key.<hash>, but unit_test.estuaire.<model>.<name>
    kind, _, *rest = unique_id.split(".")
    return ".".join(rest) if kind == "unit_test" else rest[0]


def _what(broken: Sequence[Node], code: int) -> str:
    if not broken:
        return f"dbt could not run (exit code {code})"
    named = [f"{n.kind} {n.name} ({n.failures} rows)" if n.failures else f"{n.kind} {n.name}" for n in broken[:10]]
    more = f" and {len(broken) - 10} more" if len(broken) > 10 else ""
    return f"{len(broken)} dbt nodes failed: {', '.join(named)}{more}"
