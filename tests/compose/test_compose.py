"""The compose file, really built and started: confined, closed to nobody's calls, run by its schedule, no secret shown."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import anonymous
import pytest
from beside import published_beside, same
from compose_project import SERVICES, Project
from published import copied
from small_platform import SmallPlatform

from estuaire.base.settings import PROJECT_ROOT

pytestmark = [pytest.mark.compose]


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


def test_alerts_reach_out_of_the_parts_that_tell_them(project: Project) -> None:
    given = project.environment | {"ESTUAIRE_ALERT_SMTP_HOST": "mail.example.org"}
    done = subprocess.run(
        ["docker", "compose", "-f", "docker-compose.yml", "-f", "infra/compose/alerts.yml", "config", "--format", "json"],
        env=given, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    services = json.loads(done.stdout)["services"]
    scheduler = services["scheduler"]
    assert scheduler["networks"].keys() == {"inside", "outside"}
    assert scheduler["environment"]["ESTUAIRE_ALERT_SMTP_HOST"] == "mail.example.org"
    assert scheduler["environment"]["ESTUAIRE_ALERT_SMTP_PORT"] is None  # not given: the setting's own default
    assert {"alert_webhook_key", "alert_smtp_password", "pgpass"} <= {s["source"] for s in scheduler["secrets"]}
    assert services["dag-processor"]["environment"]["ESTUAIRE_ALERT_SMTP_HOST"] == "mail.example.org"


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


def test_every_page_and_api_asks_who_it_is(up: Project) -> None:
    server = f"http://127.0.0.1:{up.port}"
    assert anonymous.answered(server) == []
    assert not anonymous.lets_in(server, "admin", "admin")
    assert anonymous.lets_in(server, "admin", up.secret_values()["airflow_admin"])


def test_the_schedule_publishes_what_an_embedded_run_does(up: Project, embedded: SmallPlatform) -> None:
    """Nobody calls a run: the deliveries are put into landing, and the marts are there."""
    began = time.monotonic()
    up.wait_published(up.deliver())
    print(f"\nsix hospitals' first deliveries in the marts {time.monotonic() - began:.0f} s after they were sent")
    same(copied(up.settings()), published_beside(embedded, up.sequence))


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
    """Without the secret of its lines the master lets nobody register; those who have it did."""
    script = (
        "from pyspark.sql import SparkSession; SparkSession.builder.appName('stranger').master('spark://spark-master:7077')"
        ".config('spark.ui.enabled', 'false').getOrCreate()"
    )
    done = subprocess.run(
        ["docker", "compose", "run", "--rm", "--no-deps", "-T", "--entrypoint", "timeout", "cli", "300", "python", "-c", script],
        env=up.environment, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1  # it gave up by itself: 124 would be the time that we give it
    assert "All masters are unresponsive" in done.stderr
    told = up.compose("logs", "spark-master")
    assert "Registered app stranger" not in told
    assert "Registered app estuaire-land" in told
