"""Prometheus, Alertmanager and their checkers as Debian packages them, unpacked into the project's cache: nothing is installed or started
on the machine. And the two as servers of a test's own."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from estuaire.base.settings import PROJECT_ROOT

PACKAGES = ("prometheus", "prometheus-alertmanager", "apache2-utils", "libapr1", "libaprutil1")
CACHE = PROJECT_ROOT / ".tools" / "debian"
CONFIGURATION = PROJECT_ROOT / "infra" / "prometheus"
USER = "estuaire"


class Missing(Exception):
    """The packages cannot be had here."""


@dataclass(frozen=True)
class Programs:
    """Where they are, and what they need to run."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        libraries = self.folder / "usr" / "lib" / "x86_64-linux-gnu"
        return {
            "PATH": f"{self.folder / 'usr' / 'bin'}:/usr/bin:/bin", "LD_LIBRARY_PATH": str(libraries), "LC_ALL": "C",
        }  # fmt: skip

    def as_installed(self) -> list[str]:
        """Before a server's command: Debian's read their templates from /usr/share, where the packages would have put them; only this
        process sees them there."""
        see = 'mount --bind "$0" /usr/share && exec "$@"'
        return ["unshare", "--map-root-user", "--mount", "bash", "-c", see, str(self.folder / "usr" / "share")]

    def run(self, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A checker's answer."""
        return subprocess.run(
            list(command), env=self.environment, cwd=cwd or CONFIGURATION, capture_output=True, text=True, check=False
        )


def programs() -> Programs:
    """The programs, fetched the first time.

    Raises:
        Missing: this machine has no apt, or its archive does not hold them.
    """
    CACHE.parent.mkdir(exist_ok=True)
    with (CACHE.parent / "debian.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (CACHE / "complete").exists():
            _fetch()
    return Programs(CACHE)


def _fetch() -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise Missing("no apt-get here")
    draft = CACHE.with_name(".debian-new")
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "packages").mkdir(parents=True)
    done = _download(draft)
    if done.returncode != 0 and os.geteuid() == 0:  # lists that are missing or old
        subprocess.run(["apt-get", "update", "-qq"], capture_output=True, check=False)
        done = _download(draft)
    if done.returncode != 0:
        raise Missing(f"apt-get download: {done.stderr.strip()[-300:]}")
    for package in (draft / "packages").glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(package), str(draft)], check=True)
    (draft / "complete").touch()
    shutil.rmtree(CACHE, ignore_errors=True)
    draft.replace(CACHE)


def _download(draft: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["apt-get", "download", *PACKAGES], cwd=draft / "packages", capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="session")
def monitors() -> Programs:
    """The programs, or a skip that says so."""
    try:
        return programs()
    except Missing as error:
        pytest.skip(f"SKIPPED: Prometheus cannot be had here ({error})")


# ------------------------------------------------------------------------------------------------ as servers


@dataclass(frozen=True)
class Page:
    """A running Prometheus or Alertmanager."""

    url: str
    password: str

    def get(self, path: str, **parameters: Any) -> Any:
        """The ``data`` of an answer of Prometheus's API."""
        answer = httpx2.get(
            f"{self.url}{path}", params=parameters, auth=(USER, self.password), timeout=30, trust_env=False
        )
        answer.raise_for_status()
        document = answer.json()
        return document["data"] if isinstance(document, dict) and "data" in document else document

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Samples of an instant query."""
        found: list[dict[str, Any]] = self.get("/api/v1/query", query=expression)["result"]
        return found


_WINDOW = re.compile(r"\[\d+[hd]\]|offset \d+d")


def hurried(folder: Path, targets: dict[str, int], secrets: Path) -> None:
    """The project's files, in a hurry: short intervals, no `for`, windows of hours and days as one of a minute, this test's ports and secrets."""
    (folder / "rules").mkdir(parents=True)
    rules = yaml.safe_load((CONFIGURATION / "rules" / "estuaire.yml").read_text(encoding="utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
            rule["expr"] = _WINDOW.sub(lambda m: "offset 30s" if m[0].startswith("offset") else "[60s]", rule["expr"])
            rule["expr"] = rule["expr"].replace("> 1800", "> 60")
    (folder / "rules" / "estuaire.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    text = (CONFIGURATION / "prometheus.yml").read_text(encoding="utf-8").replace("/run/secrets", str(secrets))
    for name, port in targets.items():
        text = text.replace(name, f"127.0.0.1:{port}")
    document = yaml.safe_load(text)
    document["global"] = {"scrape_interval": "15s", "scrape_timeout": "15s", "evaluation_interval": "5s"}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(document), encoding="utf-8")
    routes = yaml.safe_load((CONFIGURATION / "alertmanager.yml").read_text(encoding="utf-8"))
    for route in (routes["route"], *routes["route"]["routes"]):
        route |= {"group_wait": "1s", "group_interval": "2s"}
    routes.pop("receivers")
    (folder / "alertmanager.yml").write_text(
        yaml.safe_dump(routes) + "receivers:\n  - name: operator\n", encoding="utf-8"
    )


@contextmanager
def served(
    found: Programs, part: str, folder: Path, port: int, *, configuration: Path, secrets: Path, **more: str
) -> Iterator[Page]:
    """``infra/images/monitor PART`` as a container runs it, but on a port of loopback; ended with the block."""
    for name in ("run", "data"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    environment = found.environment | {
        "CONFIG": str(configuration), "SECRETS": str(secrets), "RUN": str(folder / "run"), "DATA": str(folder / "data"),
        "LISTEN": f"127.0.0.1:{port}", **more,
    }  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*found.as_installed(), str(PROJECT_ROOT / "infra" / "images" / "monitor"), part],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder,
        )  # fmt: skip
    page = Page(f"http://127.0.0.1:{port}", (secrets / "prometheus_password").read_text(encoding="utf-8").strip())
    try:
        until(lambda: _ready(page, process, folder), 60, f"{part} does not start")
        yield page
    finally:
        process.terminate()
        process.wait(timeout=30)


def _ready(page: Page, process: subprocess.Popen[bytes], folder: Path) -> bool:
    assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")[-1500:]
    try:
        answer = httpx2.get(f"{page.url}/-/ready", auth=(USER, page.password), timeout=5, trust_env=False)
        return answer.status_code == 200
    except httpx2.TransportError:
        return False


def until(condition: Any, seconds: float, otherwise: str) -> None:
    """Wait for a condition, looking every half second."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, otherwise
        time.sleep(0.5)
