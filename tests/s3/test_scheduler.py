"""The chain through the real scheduler and spark-submit on an S3 server, which is killed in mid-run and started again."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
from servers import SERVERS, Running, with_store

from estuaire.base.errors import EstuaireError
from estuaire.base.settings import Settings
from estuaire.operations.pipeline_run import follow
from estuaire.simulator import SimulationPlan, simulate
from estuaire.stack import lifecycle
from estuaire.storage import ledger
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform
from estuaire.storage.s3 import S3Store

pytestmark = [pytest.mark.s3, pytest.mark.stack, pytest.mark.outage]


@pytest.fixture(params=SERVERS)
def stack(
    request: pytest.FixtureRequest, server: Callable[[str], Running], airflow_home: Settings
) -> Iterator[tuple[Settings, Running]]:
    """A whole stack on a server's bucket."""
    running = server(request.param)
    settings = with_store(airflow_home, running, f"airflow-on-{request.param}")
    S3Store(settings).client.make_bucket(settings.s3_bucket)
    try:
        lifecycle.up(settings)
        yield settings, running
    finally:
        lifecycle.down(settings)


def _landing_again(settings: Settings, known: int) -> bool:
    stages = ledger.fetch(Database.of(settings), "select count(*) as n from control.stage_run where stage = 'land'")
    return int(stages[0]["n"]) > known


def test_a_killed_server_leaves_a_run_that_ends_and_a_rerun_finishes_it(stack: tuple[Settings, Running]) -> None:
    settings, running = stack
    began = time.monotonic()
    simulate(settings, SimulationPlan(patients=90, upto_sequence=1))
    assert follow(Platform(settings), lambda _: None).outcome == "success"
    print(f"\n{running.server.name}: published through Airflow in {time.monotonic() - began:.0f} s")
    simulate(settings, SimulationPlan(patients=90, upto_sequence=2))
    known = len(ledger.fetch(Database.of(settings), "select 1 from control.stage_run where stage = 'land'"))

    def follows() -> None:
        with contextlib.suppress(EstuaireError):  # published or cleanly failed: the ledger says which
            follow(Platform(settings), lambda _: None)

    following = threading.Thread(target=follows)
    following.start()
    limit = time.monotonic() + 180
    while not _landing_again(settings, known):
        assert time.monotonic() < limit, "landing did not begin"
        time.sleep(0.2)
    running.stop(signal.SIGKILL)
    time.sleep(20)
    running.start()
    following.join(timeout=420)
    assert not following.is_alive()
    assert ledger.fetch(Database.of(settings), "select 1 from control.run where state = 'running'") == []
    follow(Platform(settings), lambda _: None)
    assert ledger.fetch(Database.of(settings), "select distinct state from control.delivery") == [{"state": "landed"}]
    assert ledger.fetch(Database.of(settings), "select 1 from control.release where state = 'published'")
    _no_secret_in(settings, running.secret_key)


def _no_secret_in(settings: Settings, secret: str) -> None:
    """Logs and Airflow's own database never hold the keys."""
    for path in settings.logs.rglob("*"):
        if path.is_file():
            assert secret.encode() not in Path(path).read_bytes(), path
    with psycopg2.connect(Database.of(settings).dsn("airflow", "airflow")) as session, session.cursor() as cursor:
        cursor.execute("select rendered_fields::text from rendered_task_instance_fields")
        assert not [1 for (text,) in cursor.fetchall() if secret in text]
