"""Peak resident memory of each kind of process of one stack, while something runs."""

from __future__ import annotations

import contextlib
import threading

import psutil

from estuaire.base.settings import Settings

_COMPONENTS = ("scheduler", "triggerer", "dag-processor", "api_server", "pyspark.daemon")
_SECONDS = 2.0


class MemoryWatch:
    """Largest resident size by kind of process: a program's name, or Airflow's component. A process is the stack's where its command or
    environment names the stack's folder, or its parent's does (PostgreSQL's sessions name nothing)."""

    def __init__(self, settings: Settings) -> None:
        self.root, self.peaks = settings.root.as_posix(), dict[str, int]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def peak(self) -> int:
        return max(self.peaks.values(), default=0)

    @property
    def name(self) -> str:
        return max(self.peaks, key=self.peaks.__getitem__, default="")

    def look(self) -> None:
        processes = list(psutil.process_iter(["pid", "ppid", "name", "memory_info", "environ", "cmdline"]))
        ours = {p.info["pid"] for p in processes if self._names_the_folder(p)}
        for process in processes:
            memory = process.info["memory_info"]
            if memory and (process.info["pid"] in ours or process.info["ppid"] in ours):
                kind = self._kind(process)
                self.peaks[kind] = max(self.peaks.get(kind, 0), memory.rss)

    def _names_the_folder(self, process: psutil.Process) -> bool:
        told = [*(process.info["cmdline"] or []), *(process.info["environ"] or {}).values()]
        return any(self.root in word for word in told)

    @staticmethod
    def _kind(process: psutil.Process) -> str:
        words = process.info["cmdline"] or []
        return " ".join([str(process.info["name"]), *(c for c in _COMPONENTS if c in words)])

    def _run(self) -> None:
        while not self._stop.wait(_SECONDS):
            with contextlib.suppress(psutil.Error):
                self.look()

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
