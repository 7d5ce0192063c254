"""Memory of this machine, or of the container that it is."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_CGROUP_USED = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")


def memory_bytes() -> float:
    """Memory of this machine, or of the container that it is."""
    memory = float(psutil.virtual_memory().total)
    for limit in _CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # "max": no limit
            memory = min(memory, float(Path(limit).read_text()))
    return memory


def room_bytes() -> float:
    """Bytes left under a container's memory limit; infinite without one."""
    for limit, used in zip(_CGROUP_LIMITS, _CGROUP_USED, strict=True):
        with contextlib.suppress(OSError, ValueError):
            return float(Path(limit).read_text()) - float(Path(used).read_text())
    return float("inf")
