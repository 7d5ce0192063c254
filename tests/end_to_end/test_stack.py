"""The whole embedded stack, started for real: what it shows, what it survives, what it leaves.

The tests run in order on one stack with its own small DAG, since a start takes half a minute.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest

from estuaire.base import addresses
from estuaire.base.settings import Settings
from estuaire.stack import airflow, lifecycle, postgres, processes
from estuaire.stack.airflow_client import AirflowClient

pytestmark = pytest.mark.stack

DAG = """
import os, time
from airflow.sdk import dag, task

@dag(schedule=None)
def slow():
    @task(retries=0)  # a task that a killed scheduler took along runs again, though it has no retries
    def nap(seconds):
        print("napping", seconds)
        time.sleep(seconds)
    nap.expand(seconds=[15, 16])
slow()

@dag(schedule=None)
def endless():
    @task
    def spawn():
        import subprocess
        subprocess.run(["sleep", "3600"], start_new_session=True)
    spawn()
endless()
"""


@pytest.fixture(scope="module")
def stack(
    start_stack: Callable[[], contextlib.AbstractContextManager[Settings]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    dags = tmp_path_factory.mktemp("dags")
    (dags / "small.py").write_text(DAG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(airflow, "DAGS_FOLDER", dags)
        with start_stack() as settings:
            yield settings


@pytest.fixture
def client(stack: Settings) -> Iterator[AirflowClient]:
    with AirflowClient(stack) as opened:
        yield opened


def family(settings: Settings) -> dict[int, str]:
    """Every process of the stack, found by its environment or by PostgreSQL's folder, not by our own pid files."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            ours = process.environ().get("ESTUAIRE_HOME") == str(settings.root)
            if (ours or Path(process.cwd()).is_relative_to(settings.root)) and process.pid != os.getpid():
                found[process.pid] = " ".join(process.cmdline())
    return found


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.3)


def states(settings: Settings) -> dict[str, str]:
    return {part.name: part.state for part in lifecycle.status(settings)}


# ---------------------------------------------------------------- a healthy stack
def test_every_part_does_its_work(stack: Settings) -> None:
    assert states(stack) == dict.fromkeys(
        ["postgres", "api-server", "scheduler", "dag-processor", "triggerer"], "running"
    )


def test_only_loopback_listens(stack: Settings) -> None:
    pids = family(stack)
    listeners = {
        (c.laddr.ip, c.laddr.port)
        for c in psutil.net_connections(kind="inet")
        if c.status == psutil.CONN_LISTEN and c.pid in pids
    }
    assert listeners == {("127.0.0.1", stack.postgres_port), ("127.0.0.1", stack.airflow_port)}


def test_no_password_no_entry(stack: Settings) -> None:
    with pytest.raises(psycopg2.OperationalError, match="no password supplied"):
        psycopg2.connect(
            host="127.0.0.1", port=stack.postgres_port, user="postgres", dbname="postgres", passfile="/dev/null"
        )


def test_secrets_are_private_and_stand_nowhere_else(stack: Settings) -> None:
    """Not in a log, an argument or the environment of any process of the stack."""
    assert stack.secrets_path.stat().st_mode & 0o077 == 0
    values = {}
    for path in stack.secrets_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
        if not path.name.endswith((".json", "pgpass")):
            values[path.name] = path.read_text().strip()
    assert len(values) >= 9
    places = {str(path): path.read_text(errors="replace") for path in stack.logs.rglob("*.log")}
    for pid, command in family(stack).items():
        places[f"argument of {pid}"] = command
        with contextlib.suppress(psutil.Error):
            places[f"environment of {pid}"] = json.dumps(psutil.Process(pid).environ())
    assert len(places) > 12
    leaks = [(name, place) for name, value in values.items() for place, text in places.items() if value in text]
    assert leaks == []


def test_airflow_wants_its_password(stack: Settings) -> None:
    import httpx2

    url = addresses.base_url(stack)
    assert httpx2.get(f"{url}/api/v2/dags", trust_env=False).status_code == 401
    assert httpx2.get(f"{url}/auth/token", trust_env=False).status_code == 403  # the all-admins way
    wrong = {"username": "admin", "password": "admin"}
    assert httpx2.post(f"{url}/auth/token", json=wrong, trust_env=False).status_code == 401


def test_up_again_starts_nothing(stack: Settings) -> None:
    before = family(stack)
    result = lifecycle.up(stack)
    assert result.started == ()
    assert result.new_password is None
    assert set(before) <= set(family(stack)) | {p for p in before if "airflow" not in before[p]}


# ---------------------------------------------------------------- what it survives
def test_killed_scheduler_in_mid_run(stack: Settings, client: AirflowClient) -> None:
    wait_until(lambda: "slow" in {d["dag_id"] for d in client.dags()}, 60, "the DAG is parsed")
    assert client.import_errors() == []
    client.trigger("slow", {}, "killed")

    def running() -> bool:
        return [task["state"] for task in client.task_instances("slow", "killed")] == ["running"] * 2

    wait_until(running, 60, "both mapped tasks run")
    wait_until(lambda: "napping 15" in client.task_log("slow", "killed", "nap", 1, 0), 20, "a running task's log")
    scheduler = processes.find(stack, "scheduler")
    assert scheduler is not None
    scheduler.send_signal(signal.SIGKILL)
    processes.wait_gone([scheduler], 10)
    assert states(stack)["scheduler"] == "stopped"
    assert lifecycle.up(stack).started == ("scheduler",)
    wait_until(lambda: client.dag_run("slow", "killed")["state"] in {"success", "failed"}, 180, "the run ends")
    tasks = client.task_instances("slow", "killed")
    assert [task["state"] for task in tasks] == ["success", "success"]


def test_killed_api_server_by_the_command_line(stack: Settings) -> None:
    """`estuaire up` as a user runs it: it says what it does before it has done it, and starts only the dead part."""
    scheduler = processes.find(stack, "scheduler")
    server = processes.find(stack, "api-server")
    assert server is not None
    server.kill()
    processes.wait_gone([server], 10)
    assert states(stack)["scheduler"] == "unknown", "without the API server nobody tells: it must not be restarted"
    command = [sys.executable, "-c", "from estuaire.cli import main; main()", "up"]
    env = {**os.environ, **airflow.settings_environment(stack), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        first = up.stdout.readline()
        assert up.poll() is None, "the first line comes while it works"
        lines = [first, *up.stdout]
    assert up.returncode == 0
    assert first.startswith("· ")
    assert any(line.startswith("Started in") and "api-server." in line for line in lines), lines
    assert stack.secret("airflow_admin") not in "".join(lines), "the password is shown the first time only"
    assert processes.find(stack, "scheduler") == scheduler
    wait_until(lambda: set(states(stack).values()) == {"running"}, 60, "all parts run")


def test_killed_postmaster(stack: Settings, client: AirflowClient) -> None:
    master = postgres.postmaster(stack)
    assert master is not None
    master.kill()
    result = lifecycle.up(stack)
    assert "postgres" in result.started
    assert set(states(stack).values()) == {"running"}
    client.trigger("slow", {}, "after-postmaster")
    wait_until(lambda: client.dag_run("slow", "after-postmaster")["state"] == "success", 120, "a run after it")


# ---------------------------------------------------------------- the end
def test_down_leaves_nothing_even_in_mid_run(stack: Settings, client: AirflowClient) -> None:
    client.trigger("endless", {}, "endless")

    def spawned() -> bool:
        return any(command == "sleep 3600" for command in family(stack).values())

    wait_until(spawned, 60, "the task started a process in a session of its own")
    assert lifecycle.down(stack) is True
    assert family(stack) == {}
    ports = {stack.postgres_port, stack.airflow_port}
    assert [
        c for c in psutil.net_connections(kind="tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port in ports
    ] == []
    assert set(states(stack).values()) == {"stopped"}
    assert lifecycle.down(stack) is False
