"""A Docker engine with compose for the tests: the machine's own, or one started for them (as root) with what Debian and Go give.

Where no registry of images is reached, debian:bookworm-slim is made from Debian's packages. Kept between runs, in a cache folder: compose,
the engine's data (images, build cache). ``python tests/compose/engine.py COMMAND...`` runs a command with the engine's environment.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from s3.servers import go

COMPOSE = ("github.com/docker/compose/v2", "v2.29.7")
BASE = "debian:bookworm-slim"
PACKAGES = ("docker.io", "iptables")
START_SECONDS = 60.0
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")  # what this machine trusts: a proxy's authority among them
_APT = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "estuaire" / "compose"


@contextlib.contextmanager
def running() -> Iterator[dict[str, str]]:
    """The environment in which ``docker compose`` works; an engine that was started here is stopped at the end."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    if BUNDLE.exists():
        environment["ESTUAIRE_CA_BUNDLE"] = str(BUNDLE)
    started = None
    if not _answers(environment):
        _install("dockerd", PACKAGES)
        started, environment["DOCKER_HOST"] = _start(environment)
    try:
        _compose(environment)
        _base_image(environment)
        yield environment
    finally:
        if started is not None:
            started.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(timeout=60)


def _answers(environment: dict[str, str]) -> bool:
    if shutil.which("docker") is None:
        return False
    asked = subprocess.run(["docker", "version"], env=environment, capture_output=True, check=False)
    return asked.returncode == 0


def _install(program: str, packages: tuple[str, ...]) -> None:
    """By apt, where the program is not there."""
    if shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"):
        return
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", *command], env=_APT, check=True, stdout=subprocess.DEVNULL)


def _start(environment: dict[str, str]) -> tuple[subprocess.Popen[bytes], str]:
    """An engine of the tests' own, beside any other: its data root in the cache, its socket in a folder of its own."""
    own = Path(tempfile.mkdtemp(prefix="estuaire-engine-"))
    address = f"unix://{own / 'docker.sock'}"
    command = ["dockerd", "--data-root", str(cache_folder() / "data"), "--exec-root", str(own / "exec"),
               "--pidfile", str(own / "pid"), "-H", address]  # fmt: skip
    with (own / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    limit = time.monotonic() + START_SECONDS
    while not _answers({**environment, "DOCKER_HOST": address}):
        if process.poll() is not None or time.monotonic() > limit:
            process.terminate()
            raise RuntimeError(f"dockerd did not start: {(own / 'log').read_text()[-800:]}")
        time.sleep(0.5)
    return process, address


def _compose(environment: dict[str, str]) -> None:
    """``docker compose`` version 2, built with Go where there is none."""
    own = cache_folder() / "docker-config"
    plugin = own / "cli-plugins" / "docker-compose"
    if not plugin.exists():
        if (
            subprocess.run(
                ["docker", "compose", "version"], env=environment, capture_output=True, check=False
            ).returncode
            == 0
        ):
            return
        plugin.parent.mkdir(parents=True, exist_ok=True)
        module, version = COMPOSE
        print(f"building compose {version}; it is kept in {plugin.parent}", flush=True)
        with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
            made = {**environment, "GOBIN": folder, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": ""}
            flags = f"-ldflags=-s -w -X {module}/internal.Version={version}"
            subprocess.run([go(), "install", "-trimpath", flags, f"{module}/cmd@{version}"], env=made, check=True)
            (Path(folder) / "cmd").replace(plugin)
    environment["DOCKER_CONFIG"] = str(own)


def _base_image(environment: dict[str, str]) -> None:
    """debian:bookworm-slim: the one that is there, the registry's, or one made from Debian's packages."""
    for command in (["image", "inspect", BASE], ["pull", "-q", BASE]):
        with contextlib.suppress(subprocess.TimeoutExpired):
            if (
                subprocess.run(
                    ["docker", *command], env=environment, capture_output=True, check=False, timeout=120
                ).returncode
                == 0
            ):
                return
    _install("debootstrap", ("debootstrap",))
    print(f"making {BASE} from Debian's packages", flush=True)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        root = Path(folder) / "root"
        subprocess.run(
            ["debootstrap", "--variant=minbase", "bookworm", str(root)], check=True, stdout=subprocess.DEVNULL
        )
        shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
        archive = subprocess.Popen(
            ["tar", "-C", str(root), "--exclude=./proc/*", "--exclude=./sys/*", "--exclude=./dev/*", "-c", "."],
            stdout=subprocess.PIPE,
        )
        subprocess.run(
            ["docker", "import", "-", BASE],
            env=environment,
            stdin=archive.stdout,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        if archive.wait() != 0:
            raise RuntimeError("the base image could not be packed")


if __name__ == "__main__":
    with running() as found:
        sys.exit(subprocess.run(sys.argv[1:], env=found, check=False).returncode)
