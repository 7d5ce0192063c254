"""What a stage costs: wall seconds, CPU seconds and peak memory of its whole process tree, sampled while it runs."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from estuaire.base import progress
from estuaire.base.process_identity import start_ticks

_INTERVAL = 0.5


@dataclass(frozen=True)
class Cost:
    """``peak_memory_bytes`` is the largest resident size of any one process of the tree; ``gate_seconds`` of ``seconds`` went into
    quality gates."""

    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    gate_seconds: float = 0.0


@dataclass
class Elsewhere:
    """What processes outside of the tree used: a cluster's Python workers tell it with their results."""

    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0

    def add(self, cpu_seconds: float, peak_memory_bytes: int) -> None:
        with _ELSEWHERE_LOCK:
            self.cpu_seconds += cpu_seconds
            self.peak_memory_bytes = max(self.peak_memory_bytes, peak_memory_bytes)


_ELSEWHERE_LOCK = threading.Lock()
elsewhere = Elsewhere()


def used_by_this_process() -> tuple[float, int]:
    """CPU seconds of this process and of its ended children since it began, and its largest resident size in bytes."""
    this_process, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = this_process.ru_utime + this_process.ru_stime + children.ru_utime + children.ru_stime
    return seconds, this_process.ru_maxrss * 1024


class Meter:
    """Measures the tree of processes below ``root`` (default: this process) between ``with`` and its end.

    Inside Spark the root is the JVM that started this driver, so that executors and Python workers count too; those of a cluster tell what
    they used (``elsewhere``), but not their JVMs.
    """

    def __init__(self, root: int | None = None) -> None:
        self._root = psutil.Process(root)
        self._stop = threading.Event()
        self._cpu: dict[tuple[int, int], float] = {}
        self._peak = 0
        self._thread = threading.Thread(target=self._run, daemon=True, name="meter")
        self._started = self._step = 0.0
        self._gates = self._elsewhere = 0.0

    def _sample(self, into: dict[tuple[int, int], float]) -> None:
        try:
            tree = [self._root, *self._root.children(recursive=True)]
        except psutil.Error:
            return
        for process in tree:
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    into[process.pid, start_ticks(process.pid) or 0] = times.user + times.system
                    self._peak = max(self._peak, process.memory_info().rss)
            except psutil.Error:
                continue

    def _run(self) -> None:
        while not self._stop.wait(_INTERVAL):
            self._sample(self._cpu)

    def __enter__(self) -> Meter:
        self._started = self._step = time.monotonic()
        self._elsewhere = elsewhere.cpu_seconds
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5)
        self._sample(self._cpu)

    def step(self, done: str) -> None:
        """Say in the task's log what is done, and the seconds since the step before."""
        now = time.monotonic()
        print(f"{done} in {now - self._step:.1f} s", flush=True)  # noqa: T201 - Airflow's task log
        self._step = now
        progress.made()

    @contextmanager
    def gate(self) -> Iterator[None]:
        """Count the time inside the ``with`` as a gate's."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._gates += time.monotonic() - began

    def cost(self) -> Cost:
        """So far, or in all once the ``with`` has ended. CPU counts the tree from its processes' start."""
        self._sample(self._cpu)
        cpu = sum(self._cpu.values()) + elsewhere.cpu_seconds - self._elsewhere
        peak = max(self._peak, elsewhere.peak_memory_bytes)
        return Cost(time.monotonic() - self._started, cpu, peak, self._gates)


def spark_root() -> int | None:
    """Pid of the spark-submit JVM above this Python driver, or None outside spark-submit."""
    for parent in psutil.Process().parents():
        if parent.name().startswith("java"):
            return parent.pid
    return None
