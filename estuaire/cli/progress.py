"""Progress of a long command: one line per step, and a sign of life while a step lasts."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.markup import escape

from estuaire.base.display_text import shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

HEARTBEAT_SECONDS = 5.0


class Progress:
    """Names the current step. On a terminal a spinner turns; elsewhere a line comes at least every 5 s.

    Use as a context manager and call it with the name of each step.
    """

    def __init__(self, console: Console, first: str) -> None:
        self._console = console
        self._step = first
        self._began = time.monotonic()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._spinner: Status | None = None

    def __call__(self, step: str) -> None:
        self._step, self._began = shown(step), time.monotonic()
        self._console.print(f"· {self._step}", highlight=False, markup=False)
        if self._spinner:
            self._spinner.update(escape(self._step))

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._spinner = self._console.status(escape(self._step))
            self._spinner.start()
        else:
            self._thread = threading.Thread(target=self._beat, daemon=True)
            self._thread.start()
        self(self._step)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._spinner:
            self._spinner.stop()
        if self._thread:
            self._thread.join()

    def _beat(self) -> None:
        said = 0.0
        while not self._over.wait(0.2):
            lasted = time.monotonic() - self._began
            if lasted < said:  # a new step
                said = 0.0
            if lasted - said >= HEARTBEAT_SECONDS:
                said = lasted
                self._console.print(f"  … {self._step} ({lasted:.0f} s)", highlight=False, markup=False)
