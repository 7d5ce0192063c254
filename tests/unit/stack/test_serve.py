"""A part as a container's process: its command and environment name files of secrets and hold none; Spark's lines are always closed."""

from __future__ import annotations

import re
import shlex
import stat
import subprocess
from pathlib import Path

import pytest

from estuaire.base import process_identity
from estuaire.base.errors import SecretUnusable, SetupError
from estuaire.base.settings import PROJECT_ROOT, Settings
from estuaire.orchestration import spark_cluster
from estuaire.stack import airflow, exporter, serve


def spark_conf(settings: Settings) -> dict[str, str]:
    from estuaire.orchestration import operators  # imports Airflow: not while every worker collects this file

    return operators.spark_conf(settings)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make secrets` makes."""
    folder = tmp_path_factory.mktemp("server") / "secrets"
    run = [str(PROJECT_ROOT / "infra" / "compose" / "secrets.sh"), str(folder)]
    subprocess.run(run, check=True, capture_output=True)
    return folder


@pytest.fixture
def server(drawn: Path, tmp_path: Path) -> Settings:
    """Settings as docker-compose.yml gives them."""
    return Settings(
        _env_file=None, home=tmp_path / "home", secrets_dir=drawn, postgres_host="postgres", postgres_sslmode="disable",
        postgres_passfile=drawn / "pgpass", spark_master="spark://spark-master:7077", airflow_bind="0.0.0.0",  # noqa: S104
        airflow_internal_url="http://api-server:8974", airflow_url="https://estuaire.example.org",
    )  # fmt: skip


# ---------------------------------------------------------------- secrets
def test_what_is_drawn_is_what_estuaire_takes(server: Settings, drawn: Path) -> None:
    names = {path.name for path in drawn.iterdir()}
    for name in names - {"pgpass", "pgpass_worker"}:
        assert server.secret(name)
    assert {"pseudonym_key", "spark_auth", "airflow_fernet", "postgres_postgres"} <= names
    assert {stat.S_IMODE(path.stat().st_mode) for path in drawn.iterdir()} == {0o600}
    assert [line.split(":")[3] for line in (drawn / "pgpass").read_text().splitlines()] == [
        "estuaire",
        "analyst",
        "airflow",
    ]
    assert [line.split(":")[3] for line in (drawn / "pgpass_worker").read_text().splitlines()] == ["estuaire"]


def test_what_is_there_is_not_drawn_again(tmp_path: Path) -> None:
    run = [str(PROJECT_ROOT / "infra" / "compose" / "secrets.sh"), str(tmp_path / "s")]
    subprocess.run(run, check=True, capture_output=True)
    before = {p.name: p.read_bytes() for p in (tmp_path / "s").iterdir()}
    (tmp_path / "s" / "airflow_jwt").unlink()
    subprocess.run(run, check=True, capture_output=True)
    after = {p.name: p.read_bytes() for p in (tmp_path / "s").iterdir()}
    assert after.pop("airflow_jwt") != before.pop("airflow_jwt")
    assert after == before


# ---------------------------------------------------------------- parts
@pytest.mark.parametrize("part", [*airflow.COMMANDS, *serve.SPARK_PARTS, exporter.NAME])
def test_a_part_shows_no_secret(server: Settings, drawn: Path, part: str) -> None:
    command, environment = serve.command(server, part)
    told = repr((command, sorted(environment.items())))
    values = [p.read_text().strip() for p in drawn.iterdir() if not p.name.startswith("pgpass")]
    assert [value for value in values if value in told] == []
    assert "PATH" in environment


def test_an_unknown_part_is_named(server: Settings) -> None:
    with pytest.raises(SetupError, match="'page-server'"):
        serve.command(server, "page-server")


def test_airflow_is_found_inside_and_outside(server: Settings) -> None:
    environment = serve.command(server, "api-server")[1]
    assert environment["AIRFLOW__API__HOST"] == "0.0.0.0"  # noqa: S104
    assert environment["AIRFLOW__API__BASE_URL"] == "https://estuaire.example.org"
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://api-server:8974/execution/"


def test_only_the_api_server_needs_airflows_passwords(server: Settings, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir(mode=0o700)
    for name in ("pgpass", "airflow_jwt", "airflow_fernet"):
        (few / name).write_bytes((server.secrets_path / name).read_bytes())
        (few / name).chmod(0o600)
    own = server.model_copy(update={"secrets_dir": few})
    serve.command(own, "dag-processor")
    with pytest.raises(SecretUnusable, match="airflow_admin"):
        serve.command(own, "api-server")
    assert {p.name for p in few.iterdir()} == {"pgpass", "airflow_jwt", "airflow_fernet"}  # nothing is drawn


# ---------------------------------------------------------------- Spark's lines
def test_a_clusters_lines_are_authenticated_and_encrypted(server: Settings) -> None:
    conf = spark_conf(server)
    assert conf["spark.authenticate"] == conf["spark.network.crypto.enabled"] == "true"
    assert conf["spark.network.crypto.saslFallback"] == "false"
    assert not [name for name in conf if "secret" in name]
    assert conf["spark.driver.host"] not in ("", "127.0.0.1")
    assert (
        spark_conf(server.model_copy(update={"spark_driver_host": "driver.example"}))["spark.driver.host"]
        == "driver.example"
    )


def test_a_laptops_stay_on_loopback(tmp_path: Path) -> None:
    conf = spark_conf(Settings(_env_file=None, home=tmp_path))
    assert conf["spark.driver.host"] == conf["spark.driver.bindAddress"] == "127.0.0.1"


def test_a_cluster_of_ones_own_is_told_what_it_needs_and_never_to_open_its_lines(server: Settings) -> None:
    image = {
        "spark.kubernetes.container.image": "registry.example.org/estuaire:1",
        "spark.sql.shuffle.partitions": "64",
    }
    given = spark_conf(server.model_copy(update={"spark_conf": image}))
    assert image.items() <= given.items()
    assert given["spark.authenticate"] == "true"
    for opened in ("spark.authenticate", "spark.network.crypto.enabled", "spark.io.encryption.enabled", "hive.x"):
        with pytest.raises(ValueError, match="spark_conf"):
            Settings(_env_file=None, spark_conf={opened: "false"})


def test_the_secret_of_the_lines_is_a_private_file(server: Settings) -> None:
    serve.command(server, "spark-worker")
    path = spark_cluster.conf_folder(server) / "spark-defaults.conf"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    told = dict(line.split(" ", 1) for line in path.read_text().splitlines())
    assert told["spark.authenticate.secret"] == server.secret("spark_auth")
    assert told["spark.master.rest.enabled"] == "false"
    assert server.secret("pseudonym_key") not in path.read_text()


def test_a_cluster_without_the_secret_does_not_start(server: Settings, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir(mode=0o700)
    with pytest.raises(SecretUnusable, match="spark_auth"):
        serve.command(server.model_copy(update={"secrets_dir": tmp_path / "none"}), "spark-master")


# ---------------------------------------------------------------- which process
def test_a_process_of_another_container_is_not_told_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two containers of one machine: one boot id, the same pids. Before, a neighbour's living attempt counted as ended."""
    boot = process_identity._BOOT_ID.read_text().strip()
    assert re.fullmatch(rf"{boot}(\.\d+)?/\d+/\d+", process_identity.current())
    assert process_identity.lives(process_identity.current()) is True
    neighbour = f"{boot}.1234567/{2**22}/1"  # no such pid here: without the namespace it would be False, an end
    assert process_identity.lives(neighbour) is None


# ---------------------------------------------------------------- Celery
def test_the_brokers_address_is_made_from_the_secrets_file(server: Settings) -> None:
    """Airflow runs the command; neither it nor any option holds the password."""
    scaled = server.model_copy(update={"executor": "CeleryExecutor", "broker": "redis://redis:6379/0"})
    arguments, environment = serve.command(scaled, "celery-worker")
    assert arguments[1:4] == ["-m", "airflow", "celery"]
    password = server.secret("redis")
    assert [name for name, value in environment.items() if password in value] == []
    told = subprocess.run(
        shlex.split(environment["AIRFLOW__CELERY__BROKER_URL_CMD"]), check=True, capture_output=True, text=True
    )
    assert told.stdout == f"redis://:{password}@redis:6379/0"
    assert environment["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    waits = int(environment["AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT"])
    assert waits > scaled.task_hours * 3600  # else a long task would be given to a second worker


def test_a_worker_that_would_get_no_task_says_so(server: Settings) -> None:
    with pytest.raises(SetupError, match="no task"):
        serve.command(server, "celery-worker")


def test_celery_without_a_broker_is_refused() -> None:
    with pytest.raises(ValueError, match="needs broker"):
        Settings(_env_file=None, executor="CeleryExecutor")
