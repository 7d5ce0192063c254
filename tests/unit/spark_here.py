"""Spark's part of ``spark_jobs.session``, in this process: no server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any


class Here:
    """A session of two cores."""

    defaultParallelism = 2
    master = "local[2]"

    def __init__(self) -> None:
        self.sparkContext = self

    def parallelize(self, packed: Sequence[Any], _parts: int) -> Packed:
        return Packed(packed)


class Packed:
    def __init__(self, packed: Sequence[Any]) -> None:
        self.packed = packed

    def mapPartitions(self, run: Callable[[Iterator[Any]], Iterator[Any]]) -> Packed:
        return Packed([x for packet in self.packed for x in run(iter([packet]))])

    def collect(self) -> list[Any]:
        return list(self.packed)
