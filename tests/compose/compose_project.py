"""The compose file as a project of its own: its secrets, its commands, and a way to its database for the test."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2

from estuaire.base.errors import EstuaireError
from estuaire.base.settings import PROJECT_ROOT, Settings
from estuaire.simulator import SimulationPlan
from estuaire.storage import ledger
from estuaire.storage.database import Database

SERVICES = {
    "postgres", "store", "api-server", "scheduler", "dag-processor", "triggerer", "spark-master", "spark-worker",
    "metrics",
}  # fmt: skip
HOSPITALS = ("h01", "h02", "h03", "h04", "h05", "h06")
# so many that each hospital's first delivery has records that are set aside: panels tell of them
PLAN = SimulationPlan(hospitals=HOSPITALS, patients=120, administrations_per_patient=400.0, deliveries=14)
ACTIVE = "select 1 from dag_run where state in ('running', 'queued') limit 1"
SIMULATE = (
    "simulate", "--hospitals", ",".join(HOSPITALS), "--patients", str(PLAN.patients), "--json",
    "--administrations", str(PLAN.administrations_per_patient), "--deliveries", str(PLAN.deliveries),
)  # fmt: skip


@dataclass
class Project:
    """A project under a random name. ``environment`` is the engine's (see ``engine.running``)."""

    environment: dict[str, str]
    secrets: Path
    port: int
    sequence: int = 0  # of the newest deliveries that the simulated hospitals sent
    name: str = field(default_factory=lambda: f"estuaire-test-{secrets.token_hex(4)}")

    def __post_init__(self) -> None:
        self.environment |= {
            "COMPOSE_PROJECT_NAME": self.name,
            "ESTUAIRE_COMPOSE_SECRETS": str(self.secrets),
            "ESTUAIRE_PUBLISH": f"127.0.0.1:{self.port}",
            "ESTUAIRE_AIRFLOW_URL": f"http://127.0.0.1:{self.port}",
        }

    def draw_secrets(self) -> None:
        subprocess.run(
            [str(PROJECT_ROOT / "infra/compose/secrets.sh"), str(self.secrets)], check=True, stdout=subprocess.DEVNULL
        )

    def docker(self, *arguments: str, **options: Any) -> str:
        """Output of a docker command."""
        done = subprocess.run(
            ["docker", *arguments],
            env=self.environment,
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            check=False,
            **options,
        )
        if done.returncode != 0:
            raise RuntimeError(f"docker {' '.join(arguments[:4])}: {done.stdout[-1500:]} {done.stderr[-1500:]}")
        return done.stdout

    def compose(self, *arguments: str, **options: Any) -> str:
        return self.docker("compose", *arguments, **options)

    def cli(self, *arguments: str, timeout: float = 900.0) -> str:
        """Output of the estuaire command in a container of its own."""
        return self.compose("run", "--rm", "--no-deps", "-T", "cli", *arguments, timeout=timeout)

    def start(self, *options: str, seconds: float = 900.0) -> None:
        """Up, and wait until every part is healthy."""
        self.compose("up", "-d", "--quiet-pull", *options, timeout=seconds)
        limit = time.monotonic() + seconds
        while not self.healthy():
            if time.monotonic() > limit:
                raise RuntimeError(f"{self.compose('ps', '-a')}\n{self.compose('logs', '--tail', '15')}")
            time.sleep(3)

    def healthy(self) -> bool:
        shown = [json.loads(line) for line in self.compose("ps", "--format", "json").splitlines()]
        wanted = SERVICES | (
            {"redis", "celery-worker"} if self.environment.get("COMPOSE_PROFILES") == "scale" else set()
        )
        return {one["Service"] for one in shown if one["Health"] == "healthy"} >= wanted and not any(
            one["Health"] == "starting" for one in shown
        )

    def inspected(self) -> list[dict[str, Any]]:
        """Every container of the project, as the engine tells it."""
        names = self.compose("ps", "-a", "-q").split()
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", *names))
        return found

    def container(self, service: str) -> dict[str, Any]:
        [found] = [c for c in self.inspected() if c["Config"]["Labels"]["com.docker.compose.service"] == service]
        return found

    def kill(self, service: str) -> None:
        """SIGKILL to a container's first process, as a machine's fault would: its restart policy brings it back."""
        os.kill(self.container(service)["State"]["Pid"], signal.SIGKILL)

    def settings(self) -> Settings:
        """Settings by which this process, on the engine's machine, reads the project's database."""
        [address] = [n["IPAddress"] for n in self.container("postgres")["NetworkSettings"]["Networks"].values()]
        return Settings(
            _env_file=None, home=self.secrets.parent / "home", secrets_dir=self.secrets, postgres_host=address,
            postgres_port=5432, postgres_sslmode="disable",
        )  # fmt: skip

    # ---------------------------------------------------------------- deliveries, which the schedule takes up by itself
    def deliver(self) -> int:
        """Each hospital's next delivery into landing, and no other command. How many deliveries stand there since the first."""
        self.sequence += 1
        assert self.sequence <= PLAN.deliveries, "the tests before have taken every delivery that is simulated"
        told = json.loads(self.cli(*SIMULATE, "--only-deliveries", str(self.sequence)).strip().splitlines()[-1])
        return len(told["deliveries"])

    def wait_for_stage(self, stage: str, seconds: float = 900.0) -> None:
        """Until a stage runs."""
        asked = "select 1 from control.stage_run where stage = %s and state = 'running'"
        self._wait(
            lambda: bool(ledger.fetch(Database.of(self.settings()), asked, (stage,))), f"{stage} begins", seconds
        )

    def wait_committed(self, stage: str, seconds: float = 3600.0) -> None:
        """Until a stage's attempt has committed."""
        asked = "select 1 from control.stage_run where stage = %s and state = 'committed'"
        self._wait(
            lambda: bool(ledger.fetch(Database.of(self.settings()), asked, (stage,))), f"{stage} is committed", seconds
        )

    def wait_until_it_works(self, seconds: float = 300.0) -> None:
        """Until a Python process of a task runs in the Spark worker's container."""
        worker = self.container("spark-worker")["Id"]
        self._wait(
            lambda: "pyspark.daemon" in self.docker("top", worker, "-eo", "pid,args"), "an executor works", seconds
        )

    def wait_published(self, deliveries: int, seconds: float = 1800.0) -> None:
        """Until so many deliveries have landed, the marts show them, and no run is left."""
        landed = "select 1 from control.delivery where state = 'landed' offset %s limit 1"
        shown = (
            "select max(snapshot_id) < (select max(snapshot_id) from control.release) as shown from control.delivery"
        )

        def done() -> bool:
            settings = self.settings()
            return (
                bool(ledger.fetch(Database.of(settings), landed, (deliveries - 1,)))
                and bool(ledger.fetch(Database.of(settings), shown)[0]["shown"])
                and not self.airflow(ACTIVE)
            )

        self._wait(done, f"{deliveries} deliveries are published", seconds)

    def wait_blocked(self, hospital: str, delivery: str, seconds: float = 900.0) -> None:
        """Until a delivery has been refused and no run is left."""
        refused = "select 1 from control.delivery where hospital_id = %s and delivery_id = %s and state = 'blocked'"

        def done() -> bool:
            settings = self.settings()
            return bool(ledger.fetch(Database.of(settings), refused, (hospital, delivery))) and not self.airflow(ACTIVE)

        self._wait(done, f"{delivery} of {hospital} is blocked", seconds)

    def _wait(self, done: Callable[[], bool], what: str, seconds: float) -> None:
        limit = time.monotonic() + seconds
        while True:
            with contextlib.suppress(psycopg2.OperationalError, EstuaireError):  # while the database is away
                if done():
                    return
            if time.monotonic() > limit:
                raise RuntimeError(f"not within {seconds:.0f} s: {what}")
            time.sleep(0.3)

    def airflow(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of Airflow's own database."""
        settings = self.settings()
        session = psycopg2.connect(Database.of(settings).dsn("airflow", settings.airflow_database))
        with contextlib.closing(session), session.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def reboot(self) -> None:
        """As a machine that lost its power: every container killed at once, then `docker compose up` again."""
        self.docker("kill", *self.compose("ps", "-q").split())
        self.start()

    def secret_values(self) -> dict[str, str]:
        return {p.name: p.read_text().strip() for p in self.secrets.iterdir() if not p.name.startswith("pgpass")}

    def remove(self) -> None:
        self.compose("--profile", "*", "down", "--volumes", "--timeout", "20", timeout=300)
