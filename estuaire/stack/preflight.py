"""What is checked before anything starts. Every problem is named with its remedy, all at once."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from estuaire.base import private_files
from estuaire.base.errors import EstuaireError, SetupError
from estuaire.base.settings import Settings
from estuaire.stack import postgres, processes
from estuaire.stack.memory import room_bytes

_GIB = 1024**3
_GLIBC = (2, 28)
_PYTHON = ((3, 11), (3, 14))
_MIN_SHM_BYTES = 32 * 1024**2


@dataclass(frozen=True)
class Problem:
    what: str
    remedy: str


def check(settings: Settings) -> None:
    """Raise one SetupError that lists every problem of this machine; nothing is started or installed here.

    Raises:
        SetupError: at least one problem.
    """
    problems = [
        *platform_problems(sys.platform, platform.machine(), platform.libc_ver(), sys.version_info[:2]),
        *server_problems(settings),
        *home_problems(settings.root),
        *disk_problems(settings),
        *memory_problems(settings),
        *shared_memory_problems(),
        *port_problems(settings),
        *store_problems(settings),
    ]
    _refuse(problems)


def check_room(settings: Settings, *, disk_gib: float, memory_gib: float) -> None:
    """Whether the machine has room for a run whose size is known beforehand; figures as measured (docs/benchmarks.md).

    Raises:
        SetupError: it has not; nothing was started or written.
    """
    wanted = settings.model_copy(update={"min_free_disk_gib": disk_gib, "min_memory_gib": memory_gib})
    _refuse([*disk_problems(wanted), *memory_problems(wanted)])


def _refuse(problems: list[Problem]) -> None:
    if not problems:
        return
    if len(problems) == 1:
        raise SetupError(problems[0].what, remedy=problems[0].remedy)
    raise SetupError(
        f"{len(problems)} problems: " + "; ".join(f"({n}) {p.what}" for n, p in enumerate(problems, 1)),
        remedy="; ".join(f"({n}) {p.remedy}" for n, p in enumerate(problems, 1)),
    )


def platform_problems(system: str, machine: str, libc: tuple[str, str], python: tuple[int, ...]) -> list[Problem]:
    problems = []
    if system != "linux" or machine not in {"x86_64", "AMD64"}:
        problems.append(Problem(f"{system} on {machine} is not supported", "use Linux on x86-64"))
    elif libc[0] != "glibc" or _version(libc[1]) < _GLIBC:
        problems.append(
            Problem(
                f"the C library is {' '.join(libc).strip() or 'not glibc'}",
                "use a system with glibc 2.28 or later (Debian 10, Ubuntu 20.04, RHEL 8)",
            )
        )
    if not _PYTHON[0] <= python < _PYTHON[1]:
        problems.append(
            Problem(
                f"Python {'.'.join(map(str, python))} is not supported", "run `make setup` with Python 3.11 to 3.13"
            )
        )
    return problems


def server_problems(settings: Settings) -> list[Problem]:
    """An external PostgreSQL that does not answer, or was not prepared."""
    if not settings.postgres_host or postgres.answers(settings):
        return []
    return [
        Problem(
            f"PostgreSQL at {settings.postgres_host}:{settings.postgres_port} does not let 'estuaire' into '{settings.postgres_database}'",
            "run `estuaire init` once; then look at the server, its pg_hba.conf and its certificate",
        )
    ]


def home_problems(root: Path) -> list[Problem]:
    try:
        private_files.folder(root)
        with tempfile.NamedTemporaryFile(dir=root):
            return []
    except OSError as error:
        return [Problem(f"{root} cannot be written ({error.strerror})", "set ESTUAIRE_HOME to a folder of yours")]


def disk_problems(settings: Settings) -> list[Problem]:
    folder = settings.root
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / _GIB
    if free >= settings.min_free_disk_gib:
        return []
    return [
        Problem(
            f"only {free:.1f} GiB of disk are free at {folder}, {settings.min_free_disk_gib:g} are needed",
            "make room, or set ESTUAIRE_HOME to a folder on a larger disk",
        )
    ]


def memory_problems(settings: Settings) -> list[Problem]:
    """Not asked for while a part of ours runs: it holds the memory itself."""
    if processes.belonging(settings):
        return []
    available = min(psutil.virtual_memory().available, room_bytes()) / _GIB
    if available >= settings.min_memory_gib:
        return []
    return [
        Problem(
            f"only {available:.1f} GiB of memory are available, {settings.min_memory_gib:g} are needed",
            "end other programs, or take a larger machine",
        )
    ]


def shared_memory_problems(folder: Path = Path("/dev/shm")) -> list[Problem]:  # noqa: S108
    """The folder holds the semaphores of Python's multiprocessing, which Airflow's executor needs."""
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK) and shutil.disk_usage(folder).total >= _MIN_SHM_BYTES:
        return []
    return [
        Problem(
            f"{folder} is missing, not writable or smaller than {_MIN_SHM_BYTES // 1024**2} MiB",
            "mount it (`mount -t tmpfs tmpfs /dev/shm`), or start the container with --shm-size=256m",
        )
    ]


def port_problems(settings: Settings) -> list[Problem]:
    """Ports that another program holds. A port of a part of ours that runs is not a problem."""
    wanted = {"api-server": (settings.airflow_port, "ESTUAIRE_AIRFLOW_PORT")}
    if not settings.postgres_host:
        wanted["postgres"] = (settings.postgres_port, "ESTUAIRE_POSTGRES_PORT")
    if settings.metrics_port:
        wanted["metrics"] = (settings.metrics_port, "ESTUAIRE_METRICS_PORT")
    problems = []
    if not settings.postgres_host and settings.postgres_port == settings.airflow_port:
        problems.append(
            Problem(
                f"port {settings.postgres_port} is asked for twice, by PostgreSQL and by Airflow",
                "set ESTUAIRE_POSTGRES_PORT or ESTUAIRE_AIRFLOW_PORT to another port",
            )
        )
    for name, (port, variable) in wanted.items():
        if _free(port) or processes.belonging(settings, name):
            continue
        problems.append(
            Problem(
                f"port {port} ({name}) is taken by {holder(port)}",
                f"stop that program, or set {variable} to a free port",
            )
        )
    return problems


def store_problems(settings: Settings) -> list[Problem]:
    """An S3 store that is not there, refuses us, or would let a delivery be overwritten."""
    if settings.store != "s3":
        return []
    from estuaire.storage.s3 import S3Store

    try:
        S3Store(settings).check()
    except EstuaireError as error:
        return [Problem(f"{error.what} ({settings.s3_endpoint}, bucket {settings.s3_bucket})", error.remedy)]
    return []


def holder(port: int) -> str:
    """Who listens on ``port``, as far as this account may know: name and pid."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
                if connection.pid is None:
                    break
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return "another program"


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a closing connection is no holder
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
