"""The command line: quick, never silent, and errors in one readable line."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from estuaire.cli import progress

ESTUAIRE = [sys.executable, "-c", "from estuaire.cli import main; main()"]


def _run(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "ESTUAIRE_HOME": str(home), **variables}
    return subprocess.run([*ESTUAIRE, *arguments], env=env, capture_output=True, text=True, check=False, timeout=60)


def test_help_names_the_commands(tmp_path: Path) -> None:
    done = _run(tmp_path, "--help")
    assert done.returncode == 0
    for command in ("up", "down", "status", "logs"):
        assert command in done.stdout


def test_help_imports_no_engine(tmp_path: Path) -> None:
    code = "import sys; from estuaire.cli import build; build(); print([m for m in ('airflow', 'pyspark', 'duckdb', 'pandas', 'psycopg2') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_error_is_one_line_without_traceback(tmp_path: Path, free_port: Callable[[], int]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        ports = {"ESTUAIRE_AIRFLOW_PORT": port, "ESTUAIRE_POSTGRES_PORT": str(free_port())}
        done = _run(tmp_path, "up", **ports)
        loud = _run(tmp_path, "up", ESTUAIRE_DEBUG="1", **ports)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "[E_SETUP]" in done.stderr
    assert f"port {port}" in done.stderr
    assert "What to do" in done.stderr
    assert "Traceback" in loud.stderr
    assert not (tmp_path / "postgres").exists(), "nothing may have been started"


def test_status_and_down_of_a_stack_that_never_ran(tmp_path: Path) -> None:
    done = _run(tmp_path, "status", "--json")
    assert done.returncode == 3
    assert {part["state"] for part in json.loads(done.stdout)} == {"stopped"}
    assert "Nothing was running" in _run(tmp_path, "down").stdout


def test_logs_of_an_unknown_part(tmp_path: Path) -> None:
    done = _run(tmp_path, "logs", "../secrets/pgpass")
    assert done.returncode == 1
    assert "there is no log named" in done.stderr


def test_a_long_step_gives_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT_SECONDS", 0.3)
    output = io.StringIO()

    def signs() -> int:
        return output.getvalue().count("  … second")

    with progress.Progress(Console(file=output), "first") as step:
        step("second")
        limit = time.monotonic() + 60
        while signs() < 2:
            assert time.monotonic() < limit, "no sign of life"
            time.sleep(0.05)
    told = [line for line in output.getvalue().splitlines() if not line.startswith("  … first")]
    assert told[:2] == ["· first", "· second"]
