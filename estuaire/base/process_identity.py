"""Which process a note of earlier means: by the boot it ran in and its start in clock ticks since that boot, never by the clock.

A clock that is set (by hand, by NTP after a sleep) moves every start time that is told in seconds of the day; a pid alone may have been given
to another process since.
"""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NUMBERING = Path("/proc/self/ns/pid")
_FIRST_NUMBERING = 0xEFFFFFFC  # the machine's own: a constant of Linux (PROC_PID_INIT_INO)
_START_TICKS = 22 - 3  # field 22 of /proc/<pid>/stat, counted from the state that follows the name in brackets


@cache
def boot_id() -> str:
    """Of the running kernel: another after each boot, and on another machine. In a container also of its own numbering of processes:
    those of two containers of one machine have the same pids."""
    try:
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
        numbering = _NUMBERING.stat().st_ino
    except OSError:
        return ""
    return boot if numbering == _FIRST_NUMBERING else f"{boot}.{numbering}"


def start_ticks(pid: int) -> int | None:
    """When the process began, in clock ticks since boot; None where there is none (a zombie has ended)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes().decode("ascii", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name may hold spaces and brackets
    return None if fields[0] in ("Z", "X") else int(fields[_START_TICKS])


def seconds_up(pid: int) -> float | None:
    """How long the process has run, whatever became of the clock meanwhile; None where there is none."""
    ticks = start_ticks(pid)
    if ticks is None:
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def of(pid: int) -> str | None:
    """The identity of a process as one word, to be kept and given to ``lives`` later."""
    ticks = start_ticks(pid)
    return None if ticks is None else f"{boot_id()}/{pid}/{ticks}"


def current() -> str:
    """This process's identity."""
    return of(os.getpid()) or f"{boot_id()}/{os.getpid()}/0"


def lives(identity: str) -> bool | None:
    """Whether the process still runs on this machine; None where that cannot be told: the word is no identity, or of another boot or machine."""
    boot, _, rest = identity.partition("/")
    pid, _, ticks = rest.partition("/")
    if not boot or boot != boot_id() or not pid.isdecimal() or not ticks.isdecimal():
        return None
    return start_ticks(int(pid)) == int(ticks)
