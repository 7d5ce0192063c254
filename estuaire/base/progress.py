"""Notes that the stage of this process got on: a piece of work was finished. Whoever waits tells by it a slow stage from one that hangs.

Beside the work: a note that cannot be written stops nothing. At most one is written in ``_EVERY`` seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol


class Stage(Protocol):
    """The attempt of a stage that is under way, as the ledger keeps it."""

    def note_progress(self) -> None:
        """Note the moment."""
        ...


_EVERY = 5.0
_of: list[tuple[Stage, float]] = []  # the stage under way, and when it last noted something; one stage a process


@contextmanager
def noted(stage: Stage) -> Iterator[None]:
    """What ``made`` tells inside the ``with`` is this stage's."""
    _of.append((stage, float("-inf")))
    try:
        yield
    finally:
        _of.pop()


def made() -> None:
    """A piece of work is done."""
    if not _of:
        return
    stage, before = _of[-1]
    now = time.monotonic()
    if now - before < _EVERY:
        return
    _of[-1] = (stage, now)
    with suppress(Exception):
        stage.note_progress()
