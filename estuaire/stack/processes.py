"""Background processes of the stack: start detached, recognise, stop with every descendant.

A started process carries two environment variables that all its descendants inherit: ``ESTUAIRE_STACK_OF`` (the home
of its stack) and ``ESTUAIRE_STACK_PART`` (its name). A task or a JVM that left the process group is found by them.
They are not ``ESTUAIRE_HOME``: a user's own shell may hold that one, and must survive ``estuaire down``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from estuaire.base import private_files, process_identity
from estuaire.base.errors import SetupError
from estuaire.base.settings import Settings

MARK_HOME = "ESTUAIRE_STACK_OF"
MARK_PART = "ESTUAIRE_STACK_PART"
_children: dict[int, subprocess.Popen[bytes]] = {}  # kept to reap those that end while this process lives


@dataclass(frozen=True)
class ProcessRecord:
    """What the pid file of a part holds: a pid alone may have been given to another process since.

    ``identity`` is told in the machine's boot and clock ticks (``estuaire.base.process_identity``); empty in a file of before, which told
    the start by the clock: such a process is known by its marks.
    """

    name: str
    pid: int
    identity: str

    def process(self, settings: Settings) -> psutil.Process | None:
        """The live process of this record, or None when it has ended or its pid belongs to another one."""
        child = _children.get(self.pid)
        if child is not None:
            child.poll()
        if self.identity:
            same = process_identity.lives(self.identity) is True
        else:
            same = _marked(self.pid, settings, self.name)
        try:
            process = psutil.Process(self.pid) if same else None
            return process if process and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def pid_file(settings: Settings, name: str) -> Path:
    return settings.run_dir / f"{name}.json"


def log_file(settings: Settings, name: str) -> Path:
    return settings.logs / f"{name}.log"


def marks(settings: Settings, name: str) -> dict[str, str]:
    """Environment by which a process and its descendants are recognised; ``SPT_NOENV`` keeps it readable in /proc."""
    return {MARK_HOME: str(settings.root), MARK_PART: name, "SPT_NOENV": "1"}


def read_record(settings: Settings, name: str) -> ProcessRecord | None:
    """The record of part ``name``; None when there is none, or it is damaged (a crash while writing)."""
    try:
        raw = json.loads(pid_file(settings, name).read_text(encoding="utf-8"))
        return ProcessRecord(name=str(raw["name"]), pid=int(raw["pid"]), identity=str(raw.get("identity", "")))
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None


def find(settings: Settings, name: str) -> psutil.Process | None:
    """The live process of part ``name``, or None."""
    record = read_record(settings, name)
    return record.process(settings) if record else None


def start(
    settings: Settings,
    name: str,
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    cwd: Path,
    user: tuple[int, int] | None = None,
) -> ProcessRecord:
    """Start ``command`` in its own session, detached from this process, its output appended to ``logs/<name>.log``.

    Args:
        env: the whole environment of the child; the marks are added.
        user: uid and gid to run as, when this process is root.

    Raises:
        SetupError: the command cannot be executed.
    """
    private_files.folder(settings.run_dir)
    private_files.folder(settings.logs)
    identity: dict[str, object] = {"user": user[0], "group": user[1], "extra_groups": []} if user else {}
    handle = os.open(log_file(settings, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        child = subprocess.Popen(
            list(command),
            env={**env, **marks(settings, name)},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            start_new_session=True,
            umask=private_files.UMASK,
            **identity,  # type: ignore[call-overload]
        )
    except OSError as error:
        raise SetupError(
            f"{name} cannot be started: {error.strerror}", remedy=f"look at {command[0]}, then run `estuaire up` again"
        ) from error
    finally:
        os.close(handle)
    _children[child.pid] = child
    # one that has ended already is nobody: its pid may be another's soon
    record = ProcessRecord(name, child.pid, process_identity.of(child.pid) or f"ended/{child.pid}/0")
    _write(pid_file(settings, name), record)
    return record


def belonging(
    settings: Settings, name: str | None = None, *, keep: Collection[str] = frozenset()
) -> list[psutil.Process]:
    """Live processes of this stack, by their marks; of part ``name`` only when given, without the parts ``keep``.

    This process and its ancestors never belong: `estuaire down` may be run from inside a task.
    """
    home = str(settings.root)
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    processes = []
    for process in psutil.process_iter():
        if process.pid in mine:
            continue
        with contextlib.suppress(psutil.Error, OSError):
            environment = process.environ()
            part = environment.get(MARK_PART, "")
            if (
                environment.get(MARK_HOME) == home
                and (name is None or part == name)
                and part not in keep
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                processes.append(process)
    return processes


def stop(settings: Settings, name: str, *, wait: float = 15.0, first: signal.Signals = signal.SIGTERM) -> None:
    """Stop part ``name``: its process group first, then, after ``wait`` seconds, every descendant by SIGKILL."""
    leader = find(settings, name)
    family = {process.pid: process for process in belonging(settings, name)}
    if leader:
        family[leader.pid] = leader
        with contextlib.suppress(psutil.NoSuchProcess):
            family.update({child.pid: child for child in leader.children(recursive=True)})
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader.pid, first)
        wait_gone([leader], wait)
    kill([*family.values(), *belonging(settings, name)])
    pid_file(settings, name).unlink(missing_ok=True)


def kill(family: Collection[psutil.Process], wait: float = 10.0) -> None:
    """SIGKILL each process of ``family`` that still lives (psutil checks that the pid was not reused), and wait."""
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.kill()
    wait_gone(family, wait)


def wait_gone(family: Collection[psutil.Process], wait: float) -> list[psutil.Process]:
    """Wait until each of ``family`` has ended (a zombie has); those left after ``wait`` seconds."""
    limit = time.monotonic() + wait
    left = [process for process in family if _lives(process)]
    while left and time.monotonic() < limit:
        time.sleep(0.05)
        left = [process for process in left if _lives(process)]
    return left


def tail(path: Path, lines: int) -> list[str]:
    """The last ``lines`` lines of a log file; empty when there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            size = file.tell()
            block = min(size, max(4096, lines * 400))
            file.seek(size - block)
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-lines:] if lines > 0 else []


def _marked(pid: int, settings: Settings, name: str) -> bool:
    """Whether a process carries the marks of this part of this stack."""
    try:
        environment = psutil.Process(pid).environ()
    except (psutil.Error, OSError):
        return False
    return environment.get(MARK_HOME) == str(settings.root) and environment.get(MARK_PART) == name


def _lives(process: psutil.Process) -> bool:
    child = _children.get(process.pid)
    if child is not None and child.poll() is not None:
        _children.pop(process.pid, None)
        return False
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _write(path: Path, record: ProcessRecord) -> None:
    private_files.replace(path, json.dumps(asdict(record)))
