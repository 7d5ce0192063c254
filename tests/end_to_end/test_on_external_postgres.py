"""The whole chain on a PostgreSQL of one's own: init, up, the DAGs through Airflow, the marts; every line over TLS, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from external_postgres import running

from estuaire.operations.pipeline_run import follow
from estuaire.simulator import SimulationPlan, simulate
from estuaire.stack import lifecycle, postgres
from estuaire.stack.init import init
from estuaire.storage import ledger
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform
from estuaire.warehouse.query import run_query

pytestmark = pytest.mark.compose  # with the other tests of a server


def test_the_chain_publishes_on_an_external_server(tmp_path: Path) -> None:
    with running() as server:
        settings = server.settings(tmp_path / "home")
        init(settings)
        simulate(settings, SimulationPlan(patients=90, hospitals=("h01", "h02"), upto_sequence=1))
        try:
            assert "postgres" not in lifecycle.up(settings).started
            assert {p.state for p in lifecycle.status(settings)} == {"running"}
            assert follow(Platform(settings), lambda _: None).outcome == "success"
        finally:
            lifecycle.down(settings)
        assert postgres.answers(settings)  # `down` stopped what is ours
        assert ledger.fetch(Database.of(settings), "select state from control.release") == [{"state": "published"}]
        assert run_query(Platform(settings), "select count(*) from antibiotic_consumption").rows[0][0] > 0
