"""A test of tests/unit or tests/cases starts no server: one that tries fails, and one that asks for a fixture which does is not collected.

Only the test's own process is watched: what a command line that it runs starts is that command line's test to know.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FOLDERS = ("unit", "cases")
FIXTURES = frozenset({"postgres", "migrated", "spark", "running_stack", "start_stack", "monitors"})
PROGRAMS = frozenset(
    {
        "postgres", "initdb", "pg_ctl", "spark-submit", "spark-class", "prometheus", "alertmanager", "prometheus-alertmanager",
        "redis-server", "minio", "versitygw", "docker", "dockerd", "apt-get",
    }
)  # fmt: skip
AIRFLOW = frozenset({"standalone", "scheduler", "api-server", "dag-processor", "triggerer", "celery"})
_BEFORE = ("setpriv", "unshare", "sudo", "runuser", "nice", "env")  # programs that start another one
_forbidden = False


def server(arguments: Sequence[Any]) -> str | None:
    """The server that a command starts, or None."""
    words = [os.fsdecode(a) if isinstance(a, bytes | os.PathLike) else str(a) for a in arguments]
    names = [Path(word).name for word in words]
    if not names:
        return None
    looked = names if names[0] in _BEFORE else names[:1]
    found = [name for name in looked if name in PROGRAMS]
    if "airflow" in names[:3]:  # `airflow scheduler`, `python -m airflow scheduler`
        found += [f"airflow {word}" for word in words[:5] if word in AIRFLOW]
    return found[0] if found else None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not _forbidden or event not in ("subprocess.Popen", "os.exec", "os.posix_spawn"):
        return
    command = arguments[1]
    name = server([command] if isinstance(command, str | bytes | os.PathLike) else command)
    if name:
        pytest.fail(f"a unit test starts {name}: it belongs into tests/integration")


sys.addaudithook(_watch)  # there is no taking it away again: it looks at `_forbidden`


def _of_unit(path: Path) -> bool:
    root = Path(__file__).parent
    return path.is_relative_to(root) and path.relative_to(root).parts[0] in FOLDERS


@contextmanager
def forbidden_in(path: Path) -> Iterator[None]:
    """While a test of ``path`` runs: fail where it starts a server, if it is one of the unit tests."""
    global _forbidden
    before, _forbidden = _forbidden, _of_unit(path)
    try:
        yield
    finally:
        _forbidden = before


def refuse(items: Sequence[pytest.Item]) -> None:
    """Refuse to collect unit tests that ask for a server's fixture: another test may have started it already, unseen.

    Raises:
        UsageError: names them.
    """
    asked = [
        f"{item.nodeid}: {name}"
        for item in items
        if _of_unit(item.path)
        for name in sorted(FIXTURES & set(getattr(item, "fixturenames", ())))
    ]
    if asked:
        raise pytest.UsageError("unit tests ask for servers; move them into tests/integration:\n" + "\n".join(asked))
