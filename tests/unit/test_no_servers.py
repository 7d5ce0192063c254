"""The guard of the unit tests: a server that one of them starts is noticed, whoever starts it and however."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import no_servers
import pytest

HERE = Path(__file__)


@pytest.mark.parametrize(
    "command",
    [
        ["/somewhere/bin/postgres", "-D", "data"],
        "initdb",
        ["setpriv", "--reuid=70", "/somewhere/bin/postgres"],
        ["/somewhere/pyspark/bin/spark-submit", "pyspark-shell"],
        [sys.executable, "-m", "airflow", "scheduler"],
        [Path("/somewhere/bin/airflow"), "api-server", "--port", "1"],
        ["prometheus", "--config.file=x"],
    ],
)
def test_a_server_that_a_unit_test_starts_fails_it(command: Any) -> None:
    with pytest.raises(pytest.fail.Exception, match="tests/integration"):
        subprocess.Popen(command)
    if isinstance(command, list):
        with pytest.raises(pytest.fail.Exception, match="tests/integration"):
            os.execv(command[0], [str(word) for word in command])  # noqa: S606 - it does not come to that


@pytest.mark.parametrize("words", ["logs postgres", "up", "-c 'from airflow.configuration import conf'"])
def test_a_name_among_the_arguments_is_no_server(words: str) -> None:
    assert no_servers.server([sys.executable, *words.split()]) is None


def test_elsewhere_servers_may_be_started() -> None:
    with no_servers.forbidden_in(HERE.parents[1] / "integration" / "test_x.py"), pytest.raises(FileNotFoundError):
        subprocess.Popen(["/nowhere/bin/postgres"])
    with pytest.raises(pytest.fail.Exception):
        subprocess.Popen(["/nowhere/bin/postgres"])


@pytest.mark.parametrize("fixture", sorted(no_servers.FIXTURES))
def test_a_unit_test_that_asks_for_a_servers_fixture_is_not_collected(fixture: str) -> None:
    def item(folder: str) -> Any:
        path = HERE.parents[1] / folder / "test_x.py"
        return SimpleNamespace(path=path, nodeid=f"{folder}/test_x.py::test_y", fixturenames=["tmp_path", fixture])

    no_servers.refuse([item("integration"), item("dbt")])
    for folder in no_servers.FOLDERS:
        with pytest.raises(pytest.UsageError, match=rf"{folder}/test_x.py::test_y: {fixture}"):
            no_servers.refuse([item("integration"), item(folder)])


def test_the_fixtures_named_are_those_that_there_are() -> None:
    tests = HERE.parents[1]
    texts = [p.read_text(encoding="utf-8") for p in tests.rglob("*.py")]
    assert [f for f in no_servers.FIXTURES if not any(f"\ndef {f}(" in text for text in texts)] == []
