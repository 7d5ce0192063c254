"""The compose file, really built and started: what it publishes equals an embedded run, a killed worker loses nothing, no secret shows."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from compose_project import SERVICES, Project
from published import copied
from small_platform import Platform, create_database

from estuaire import ledger, pseudonym_key
from estuaire.settings import PROJECT_ROOT, Settings
from estuaire.simulator import SimulationPlan, simulate

pytestmark = [pytest.mark.compose]

HOSPITALS = ("h01", "h02", "h03", "h04", "h05", "h06")
PLAN = SimulationPlan(hospitals=HOSPITALS, patients=120, administrations_per_patient=60.0)
SIMULATE = ("simulate", "--hospitals", ",".join(HOSPITALS), "--patients", "120", "--administrations", "60")


@pytest.fixture(scope="session")
def embedded(project: Project, migrated: Settings, spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """The same deliveries through the same stages on this machine, under the project's pseudonym key."""
    folder = tmp_path_factory.mktemp("embedded")
    create_database(migrated, "beside_compose", "empty_platform")
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o700)
    for path in migrated.secrets_path.iterdir():
        (secrets / path.name).write_bytes(path.read_bytes())
    (secrets / "pseudonym_key").write_bytes((project.secrets / "pseudonym_key").read_bytes())
    for path in secrets.iterdir():
        path.chmod(0o600)
    update = {"postgres_database": "beside_compose", "secrets_dir": secrets, "store_root": folder / "store"}
    platform = Platform(migrated.model_copy(update=update), spark)
    platform.execute("delete from control.pseudonym_key")
    pseudonym_key.ensure(platform.settings)
    platform.lake.ensure()
    return platform


def _published_beside(platform: Platform, sequence: int) -> dict[str, bytes]:
    simulate(platform.settings, replace(PLAN, upto_sequence=sequence))
    platform.land()
    platform.consolidate()
    platform.load()
    platform.publish()
    return copied(platform.settings)


def _same(ours: dict[str, bytes], theirs: dict[str, bytes]) -> None:
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert len(ours["marts.antibiotic_consumption"]) > 10_000


# ---------------------------------------------------------------- before anything runs
def test_the_file_and_its_parts_are_sound(project: Project) -> None:
    told = json.loads(project.compose("config", "--format", "json"))
    assert set(told["services"]) == SERVICES | {"init"}
    for more in ("external-postgres", "external-s3"):
        given = project.environment | {
            "ESTUAIRE_POSTGRES_HOST": "db.example.org", "ESTUAIRE_POSTGRES_ROOT_CERTIFICATE": "/dev/null",
            "ESTUAIRE_S3_ENDPOINT": "https://s3.example.org",
        }  # fmt: skip
        files = ["-f", "docker-compose.yml", "-f", f"infra/compose/{more}.yml"]
        done = subprocess.run(
            ["docker", "compose", *files, "config", "--format", "json"],
            env=given, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        services = json.loads(done.stdout)["services"]
        assert {"postgres": "postgres", "s3": "store"}[more.removeprefix("external-")] not in services
        assert services["scheduler"]["networks"].keys() == {"inside", "outside"}


def test_secrets_are_drawn_once(project: Project) -> None:
    before = {p.name: p.read_bytes() for p in project.secrets.iterdir()}
    project.draw_secrets()
    assert {p.name: p.read_bytes() for p in project.secrets.iterdir()} == before
    assert {p.stat().st_mode & 0o777 for p in project.secrets.iterdir()} == {0o600}


# ---------------------------------------------------------------- up
def test_every_part_is_confined(up: Project) -> None:
    for found in up.inspected():
        name, host = found["Name"], found["HostConfig"]
        assert found["Config"]["User"].split(":")[0] not in ("", "0", "root"), name
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert host["Memory"] > 0, name
        assert host["PidsLimit"] > 0, name
        assert not host["Privileged"], name


def test_only_airflows_page_listens_and_on_loopback(up: Project) -> None:
    bound = {
        (found["Config"]["Labels"]["com.docker.compose.service"], one["HostIp"], int(one["HostPort"]))
        for found in up.inspected()
        for bindings in (found["NetworkSettings"]["Ports"] or {}).values()
        for one in bindings or []
    }
    assert bound == {("api-server", "127.0.0.1", up.port)}


@pytest.mark.parametrize(
    "path", ["/api/v2/dags", "/estuaire/reports/latest.html", "/estuaire/quality/index.html", "/api/v2/connections"]
)
def test_airflows_page_asks_who_it_is(up: Project, path: str) -> None:
    answer = httpx2.get(f"http://127.0.0.1:{up.port}{path}", trust_env=False, timeout=60)
    assert answer.status_code in (302, 401, 403), path


def test_the_published_marts_are_an_embedded_runs(up: Project, embedded: Platform) -> None:
    began = time.monotonic()
    up.cli(*SIMULATE, "--only-deliveries", "1")
    up.cli("run", timeout=1800)
    print(f"\nsix hospitals' first deliveries published in {time.monotonic() - began:.0f} s")
    _same(copied(up.settings()), _published_beside(embedded, 1))


def test_a_worker_killed_in_land_loses_nothing(up: Project, embedded: Platform) -> None:
    settings = up.settings()
    up.cli(*SIMULATE, "--only-deliveries", "3")
    known = len(ledger.fetch(settings, "select 1 from control.stage_run where stage = 'land'"))
    failures: list[BaseException] = []

    def run() -> None:
        try:
            up.cli("run", timeout=1800)
        except RuntimeError as error:
            failures.append(error)

    running = threading.Thread(target=run)
    running.start()
    limit = time.monotonic() + 300
    landing = "select 1 from control.stage_run where stage = 'land' and state = 'running'"
    while not (_executor_works(up) and ledger.fetch(settings, landing)):
        assert time.monotonic() < limit, "landing did not begin"
        time.sleep(0.2)
    before = up.container("spark-worker")["RestartCount"]
    up.kill("spark-worker")
    running.join(timeout=1800)
    assert not running.is_alive()
    assert failures == []
    assert up.container("spark-worker")["RestartCount"] > before
    assert len(ledger.fetch(settings, "select 1 from control.stage_run where stage = 'land'")) > known
    assert ledger.fetch(settings, "select distinct state from control.delivery") == [{"state": "landed"}]
    _same(copied(settings), _published_beside(embedded, 3))


def _executor_works(up: Project) -> bool:
    """Whether a Python process of a task runs in the worker's container."""
    return "pyspark.daemon" in up.docker("top", up.container("spark-worker")["Id"], "-eo", "pid,args")


# ---------------------------------------------------------------- secrets, once everything has run
def test_no_secret_in_an_argument_an_environment_or_a_log(up: Project) -> None:
    values = up.secret_values()
    assert len(values) >= 12
    told = {found["Name"]: json.dumps(found) for found in up.inspected()}
    for found in up.inspected():
        if found["State"]["Running"]:
            told[found["Name"] + " top"] = up.docker("top", found["Id"], "-eo", "pid,args")
    told["logs"] = up.compose("logs")
    told["config"] = up.compose("config")
    shown = [(where, name) for where, text in told.items() for name, value in values.items() if value in text]
    assert shown == []


def test_no_secret_in_an_image(up: Project, tmp_path: Path) -> None:
    """Layers and history of every image of the project, byte by byte."""
    values = {name: value.encode() for name, value in up.secret_values().items()}
    longest = max(map(len, values.values()))
    for image in sorted({found["Config"]["Image"] for found in up.inspected()}):
        process = subprocess.Popen(["docker", "save", image], env=up.environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        tail, size = b"", 0
        while chunk := process.stdout.read(1 << 24):
            size += len(chunk)
            assert [name for name, value in values.items() if value in tail + chunk] == [], image
            tail = chunk[-longest:]
        assert process.wait() == 0
        assert size > 50_000_000, image  # it was read


def test_the_key_is_a_workers_file_and_in_no_configuration_of_spark(up: Project) -> None:
    worker = up.container("spark-worker")["Id"]
    listed = up.docker("exec", worker, "sh", "-c", "ls /run/secrets; cat /run/secrets/pgpass | cut -d: -f4")
    assert set(listed.split()) == {
        "estuaire",
        "pgpass",
        "pseudonym_key",
        "s3_access_key",
        "s3_secret_key",
        "spark_auth",
    }
    conf = up.docker("exec", worker, "cat", "/var/lib/estuaire/run/spark/spark-defaults.conf")
    assert "spark.authenticate true" in conf
    assert "spark.network.crypto.enabled true" in conf
    assert up.secret_values()["pseudonym_key"] not in conf


def test_a_stranger_cannot_submit_to_the_cluster(up: Project) -> None:
    """Without the secret of its lines the master lets nobody register."""
    script = (
        "import sys; from pyspark.sql import SparkSession; "
        "SparkSession.builder.master('spark://spark-master:7077').config('spark.ui.enabled', 'false').getOrCreate()"
    )
    done = subprocess.run(
        ["docker", "compose", "run", "--rm", "--no-deps", "-T", "--entrypoint", "timeout", "cli", "100", "python", "-c", script],
        env=up.environment, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "Connected to Spark cluster" not in done.stderr
