"""The compose file as a project of its own: its secrets, its commands, and a way to its database for the test."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from estuaire.settings import PROJECT_ROOT, Settings

SERVICES = {
    "postgres", "store", "api-server", "scheduler", "dag-processor", "triggerer", "spark-master", "spark-worker",
}  # fmt: skip


@dataclass
class Project:
    """A project under a random name. ``environment`` is the engine's (see ``engine.running``)."""

    environment: dict[str, str]
    secrets: Path
    port: int
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
        return {one["Service"] for one in shown if one["Health"] == "healthy"} >= SERVICES

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

    def secret_values(self) -> dict[str, str]:
        return {p.name: p.read_text().strip() for p in self.secrets.iterdir() if not p.name.startswith("pgpass")}

    def remove(self) -> None:
        self.compose("--profile", "*", "down", "--volumes", "--timeout", "20", timeout=300)
