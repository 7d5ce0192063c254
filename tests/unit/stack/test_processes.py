"""A background process is found again by pid and start time, and stopped with every descendant."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from estuaire.base import process_identity
from estuaire.base.errors import SetupError
from estuaire.base.settings import Settings
from estuaire.stack import processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
LEAVES_A_GRANDCHILD = f"""
import subprocess, sys, time
child = subprocess.Popen({SLEEP!r}, start_new_session=True)  # another group, another session
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, home=tmp_path)


def _start(settings: Settings, name: str, code: str) -> processes.ProcessRecord:
    return processes.start(settings, name, [sys.executable, "-c", code], dict(os.environ), cwd=settings.root)


def _printed(settings: Settings, name: str) -> str:
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        lines = processes.tail(processes.log_file(settings, name), 1)
        if lines:
            return lines[0]
        time.sleep(0.05)
    raise AssertionError("nothing was printed")


def test_started_process_is_found_and_stopped(settings: Settings) -> None:
    record = _start(settings, "part", "import time; time.sleep(60)")
    found = processes.find(settings, "part")
    assert found is not None
    assert found.pid == record.pid
    assert os.getpgid(record.pid) == record.pid, "it must lead its own group"
    processes.stop(settings, "part")
    assert not psutil.pid_exists(record.pid)
    assert processes.find(settings, "part") is None


def test_stop_reaches_a_grandchild_that_left_the_group(settings: Settings) -> None:
    _start(settings, "part", LEAVES_A_GRANDCHILD)
    grandchild = int(_printed(settings, "part"))
    assert psutil.pid_exists(grandchild)
    processes.stop(settings, "part")
    assert processes.wait_gone([psutil.Process(grandchild)] if psutil.pid_exists(grandchild) else [], 5) == []


def test_orphans_of_a_killed_parent_are_found_by_their_marks(settings: Settings) -> None:
    record = _start(settings, "part", LEAVES_A_GRANDCHILD)
    grandchild = int(_printed(settings, "part"))
    psutil.Process(record.pid).kill()
    processes.wait_gone([psutil.Process(record.pid)] if psutil.pid_exists(record.pid) else [], 5)
    assert grandchild in {process.pid for process in processes.belonging(settings, "part")}
    processes.kill(processes.belonging(settings, "part"))
    assert processes.belonging(settings) == []


def test_process_that_ignores_sigterm_is_killed(settings: Settings) -> None:
    _start(
        settings,
        "deaf",
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('x', flush=True); time.sleep(60)",
    )
    _printed(settings, "deaf")
    processes.stop(settings, "deaf", wait=0.5)
    assert processes.belonging(settings) == []


def test_pid_of_another_process_is_recognised_as_stale(settings: Settings) -> None:
    """The pid file of a part that ended, whose pid another process (here: this one) has got since."""
    settings.run_dir.mkdir(parents=True)
    stale = {"name": "part", "pid": os.getpid(), "started": psutil.Process().create_time() - 3600}
    processes.pid_file(settings, "part").write_text(json.dumps(stale))
    assert processes.find(settings, "part") is None
    processes.stop(settings, "part")  # must not hurt this process
    assert not processes.pid_file(settings, "part").exists()


def test_a_clock_that_is_set_hides_no_process(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """`up` took four living processes for dead after a step of 5 s, killed them and started others."""
    record = _start(settings, "part", "import time; time.sleep(60)")
    began = psutil.Process.create_time
    for step in (5.0, -3600.0, 1e7):
        monkeypatch.setattr(psutil.Process, "create_time", lambda self, step=step: began(self) + step)
        monkeypatch.setattr(time, "time", lambda step=step: time.clock_gettime(time.CLOCK_REALTIME) + step)
        found = processes.find(settings, "part")
        assert found is not None
        assert found.pid == record.pid
        assert 0 <= (process_identity.seconds_up(record.pid) or -1) < 1800
    monkeypatch.undo()
    processes.stop(settings, "part")


def test_the_file_of_a_version_before_is_understood_by_the_marks(settings: Settings) -> None:
    """It told the start by the clock; another process that has the pid by now has other marks, or none."""
    record = _start(settings, "part", "import time; time.sleep(60)")
    old = {"name": "part", "pid": record.pid, "started": 1.0}
    processes.pid_file(settings, "part").write_text(json.dumps(old))
    limit = time.monotonic() + 60
    while processes.find(settings, "part") is None and time.monotonic() < limit:
        time.sleep(0.05)  # until the child has executed the program: before, its environment is this test's
    found = processes.find(settings, "part")
    assert found is not None
    assert found.pid == record.pid
    processes.pid_file(settings, "other").write_text(json.dumps({**old, "name": "other"}))
    assert processes.find(settings, "other") is None
    processes.stop(settings, "part")
    assert not psutil.pid_exists(record.pid)


def test_an_identity_is_one_process_of_one_boot() -> None:
    own = process_identity.current()
    boot, pid, ticks = own.split("/")
    assert process_identity.lives(own) is True
    assert process_identity.lives(f"{boot}/{pid}/{int(ticks) - 1}") is False, "the pid of a process that has ended"
    assert process_identity.lives(f"{boot}/{2**22 + 1}/1") is False
    for unknown in (f"another-boot/{pid}/{ticks}", "", "x", f"{boot}/{pid}", f"{boot}/{pid}/x"):
        assert process_identity.lives(unknown) is None
    with subprocess.Popen(SLEEP) as child:
        theirs = process_identity.of(child.pid)
        assert theirs is not None
        child.kill()
        while process_identity.start_ticks(child.pid) is not None:
            time.sleep(0.01)
        assert process_identity.lives(theirs) is False, "a zombie has ended"


def test_what_a_part_writes_is_its_own(settings: Settings) -> None:
    before = os.umask(0o022)
    try:
        _start(settings, "part", "open('made', 'w'); import os; os.mkdir('folder'); print('x', flush=True)")
        _printed(settings, "part")
    finally:
        os.umask(before)
    assert (settings.root / "made").stat().st_mode & 0o777 == 0o600
    assert (settings.root / "folder").stat().st_mode & 0o777 == 0o700
    processes.stop(settings, "part")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', "null"])
def test_damaged_pid_file_counts_as_none(settings: Settings, text: str) -> None:
    settings.run_dir.mkdir(parents=True)
    processes.pid_file(settings, "part").write_text(text)
    assert processes.find(settings, "part") is None


def test_a_shell_that_exports_estuaire_home_does_not_belong(settings: Settings) -> None:
    with subprocess.Popen(SLEEP, env={**os.environ, "ESTUAIRE_HOME": str(settings.root)}) as bystander:
        try:
            assert processes.belonging(settings) == []
        finally:
            bystander.kill()


def test_another_home_does_not_belong(settings: Settings, tmp_path: Path) -> None:
    other = Settings(_env_file=None, home=tmp_path / "other")
    other.root.mkdir()
    _start(other, "part", "import time; time.sleep(60)")
    try:
        assert processes.belonging(settings) == []
        assert len(processes.belonging(other)) == 1
    finally:
        processes.stop(other, "part")


def test_command_that_is_not_there_is_named(settings: Settings) -> None:
    with pytest.raises(SetupError, match="part cannot be started: No such file"):
        processes.start(settings, "part", ["/no/such/program"], {}, cwd=settings.root)


def test_tail_reads_the_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("".join(f"line {n}\n" for n in range(10_000)))
    assert processes.tail(log, 2) == ["line 9998", "line 9999"]
    assert processes.tail(log, 0) == []
    assert processes.tail(tmp_path / "none.log", 5) == []


def test_logs_are_private(settings: Settings) -> None:
    _start(settings, "part", "print('x')")
    assert processes.log_file(settings, "part").stat().st_mode & 0o077 == 0
    assert settings.logs.stat().st_mode & 0o077 == 0
    processes.stop(settings, "part")
