"""Progress of work on many objects: at most a line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
_EVERY = 3.0


class Counting:
    """Tells how many objects and bytes are done of how many."""

    def __init__(self, report: Callable[[str], None], what: str, objects: int, size: int) -> None:
        self._report, self._what, self._objects, self._size = report, what, objects, size
        self._done = self._bytes = 0
        self._told = time.monotonic()
        report(f"{what} {objects:,} objects, {size / 2**20:,.1f} MiB")

    def add(self, size: int) -> None:
        """One more is done."""
        self._done += 1
        self._bytes += size
        if time.monotonic() - self._told > _EVERY:
            self._told = time.monotonic()
            self._report(
                f"{self._what}: {self._done:,} of {self._objects:,} objects, {self._bytes / 2**20:,.1f} of {self._size / 2**20:,.1f} MiB"
            )


def in_turn(pool: Executor, work: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[T, R]]:
    """As ``pool.map``, with the items; but an error ends it: what has not begun is not begun any more."""
    futures = [pool.submit(work, item) for item in items]
    try:
        for item, future in zip(items, futures, strict=True):
            yield item, future.result()
    finally:
        for future in futures:
            future.cancel()
