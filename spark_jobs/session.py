"""The Spark session and the way work is spread over its tasks."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from estuaire import private, space
from estuaire.errors import EstuaireError
from estuaire.settings import Settings
from spark_jobs import s3a

T = TypeVar("T")
R = TypeVar("R")


def session(name: str, settings: Settings) -> Any:
    """The session of a job; its configuration comes from spark-submit, its way to the store from the settings."""
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.appName(name).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    if settings.store == "s3":
        s3a.open_to(spark, settings)
    return spark


def bins(items: Sequence[tuple[int, T]], count: int) -> list[list[T]]:
    """Spread (weight, item) over at most ``count`` bins, largest first into the lightest (LPT). No bin is empty."""
    loads = [0] * count
    filled: list[list[T]] = [[] for _ in range(count)]
    for weight, item in sorted(items, key=lambda x: (-x[0], repr(x[1]))):
        lightest = loads.index(min(loads))
        loads[lightest] += weight
        filled[lightest].append(item)
    return [b for b in filled if b]


class TaskFailed(EstuaireError):
    """Something unforeseen stopped a task. Its own message may hold a patient's value and is not repeated."""

    code = "E_TASK"
    retryable = True


def guarded(work: Callable[[T], R], item: T) -> R:
    """``work(item)``; an exception that is not ours is replaced by its type and place in the code, never its message."""
    try:
        return work(item)
    except EstuaireError:
        raise
    except Exception as error:  # noqa: BLE001 - replaced, not swallowed
        if (full := space.typed(error)) is not None:
            raise full from None
        frame = traceback.extract_tb(error.__traceback__)[-1]
        kind, place = type(error).__name__, f"{Path(frame.filename).name}:{frame.lineno}"
    raise TaskFailed(
        f"{kind} at {place} in a Spark task",
        remedy="the stage is tried again; if it fails again, report it as a defect",
    )


def spread(spark: Any, items: Sequence[tuple[int, T]], work: Callable[[T], R], *, per_core: int = 4) -> list[R]:
    """Run ``work`` on every item inside Spark tasks, packed by weight; results in no particular order."""
    if not items:
        return []
    context = spark.sparkContext
    packed = bins(items, max(1, context.defaultParallelism * per_core))

    def run(part: Iterator[list[T]]) -> Iterator[R]:
        private.start()  # a worker is a child of the JVM, not of the driver
        for packet in part:
            for item in packet:
                yield guarded(work, item)

    results: list[R] = context.parallelize(packed, len(packed)).mapPartitions(run).collect()
    return results
