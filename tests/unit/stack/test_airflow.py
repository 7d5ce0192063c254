"""Airflow's environment: loopback only, no secret in it, and the same settings in every child."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from estuaire.base.settings import Settings
from estuaire.stack import airflow, lifecycle


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, home=tmp_path / "it's a home", airflow_port=20001, spark_master="local[1]")


def test_environment_holds_no_secret(settings: Settings) -> None:
    assert airflow.prepare(settings) is True
    assert airflow.prepare(settings) is False, "the password is new only once"
    whole = json.dumps(airflow.environment(settings, Path("/jdk")))
    files = list(settings.secrets_path.iterdir())
    assert len(files) >= 5
    for path in files:
        assert path.stat().st_mode & 0o077 == 0, path
        assert path.read_text().strip() not in whole, path


def test_a_child_process_reads_every_setting_as_it_is_here(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings.model_copy(
        update={
            "full_may_end_by_table": {"administration": 0.5, "stay": 0.1},
            "watch_landing": True,
            "nightly": "30 2 * * *",
        }
    )
    for name, value in airflow.settings_environment(given).items():
        monkeypatch.setenv(name, value)
    read = Settings(_env_file=None)
    assert {**read.model_dump(), "home": None} == {**given.model_dump(), "home": None}
    assert read.root == given.root


def test_foreign_variables_do_not_reach_airflow(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "True")
    monkeypatch.setenv("AIRFLOW__API__WORKERS", "9")
    monkeypatch.setenv("PGPASSWORD", "x")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    env = airflow.environment(settings, Path("/jdk"))
    assert env["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"] == "False"
    assert env["AIRFLOW__API__WORKERS"] == "1"
    assert "PGPASSWORD" not in env
    assert "127.0.0.1" in env["NO_PROXY"]


def test_child_reads_the_same_settings(settings: Settings) -> None:
    code = "from estuaire.base.settings import Settings; print(Settings().model_dump_json(exclude={'home'}), Settings().root)"
    env = airflow.environment(settings, Path("/jdk"))
    said = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd="/", capture_output=True, text=True, check=True
    ).stdout
    assert said.strip() == f"{settings.model_dump_json(exclude={'home'})} {settings.root}"


def test_airflow_itself_reads_the_options(settings: Settings) -> None:
    """Through Airflow's own configuration: a misspelt option would fall back to its default and pass unseen."""
    airflow.prepare(settings)
    asked = [
        ("api", "host"),
        ("core", "dags_are_paused_at_creation"),
        ("core", "load_examples"),
        ("api_auth", "jwt_secret"),
        ("core", "fernet_key"),
        ("api", "secret_key"),
    ]
    code = f"from airflow.configuration import conf; import json; print(json.dumps([conf.get(*o) for o in {asked!r}]))"
    env = airflow.environment(settings, Path("/jdk"))
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    values = json.loads(said.splitlines()[-1])
    assert values[:3] == ["127.0.0.1", "False", "False"]
    assert [v.strip() for v in values[3:]] == [
        settings.secret("airflow_jwt"),
        settings.secret("airflow_fernet"),
        settings.secret("airflow_api"),
    ]


def test_every_option_exists_in_this_airflow(settings: Settings) -> None:
    code = "from airflow.configuration import conf; import json; d = conf.configuration_description; print(json.dumps({s: list(o['options']) for s, o in d.items()}))"
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "AIRFLOW_HOME": str(settings.root)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    known = json.loads(said.splitlines()[-1])
    for name in airflow._options(settings):
        section, option = name.removeprefix("AIRFLOW__").lower().split("__", 1)
        assert option.removesuffix("_cmd") in known[section], name


def test_health_is_read() -> None:
    beat = "2026-01-02T03:04:05+00:00"
    body = {
        "metadatabase": {"status": "healthy"},
        "scheduler": {"status": "healthy", "latest_scheduler_heartbeat": beat},
        "triggerer": {"status": "unhealthy", "latest_triggerer_heartbeat": beat},
        "dag_processor": {"status": None, "latest_dag_processor_heartbeat": None},
    }
    assert airflow.parse_health(body) == {
        "scheduler": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "dag-processor": None,
        "triggerer": None,
    }


@pytest.mark.parametrize(
    ("heartbeat_age", "seconds_up", "state"),
    [
        (2.0, 100.0, "running"),
        (None, 3.0, "starting"),
        (10.0, 3.0, "starting"),  # the heartbeat is its killed predecessor's
        (None, 100.0, "stalled"),
        (90.0, 100.0, "stalled"),  # alive, and does nothing
    ],
)
def test_a_part_is_judged_by_its_work(heartbeat_age: float | None, seconds_up: float, state: str) -> None:
    assert lifecycle.judge(heartbeat_age, seconds_up) == state
