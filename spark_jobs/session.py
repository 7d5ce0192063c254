"""The Spark session and the way work is spread over its tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from estuaire import private, space
from estuaire.errors import PASSING, EstuaireError, TaskFailed, unforeseen
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


def place_of(item: object) -> dict[str, str | None]:
    """Hospital, delivery and file of a piece of work, or of the first of a packet."""
    first = item[0] if isinstance(item, tuple) and item else item
    return {name: getattr(first, name, None) for name in ("hospital", "delivery", "file")}


def guarded(work: Callable[[T], R], item: T) -> R:
    """``work(item)``; an exception names where it was met, and one that is not ours is replaced by its type and place in the code,
    never its message.

    Raises:
        EstuaireError: whatever happened.
    """
    try:
        return work(item)
    except PASSING:
        raise
    except BaseException as error:  # noqa: BLE001 - named, not swallowed; polars and arrow panic below Exception
        told = unforeseen(space.typed(error) or error, **place_of(item))
    raise told


@dataclass(frozen=True)
class Failed(Generic[T]):
    """A piece of work that could not be done, and why."""

    item: T
    error: EstuaireError


def attempted(work: Callable[[T], R], item: T) -> R | Failed[T]:
    """``guarded``, with the error as a value: one hospital's must not end the others' tasks."""
    try:
        return guarded(work, item)
    except EstuaireError as error:
        return Failed(item, error)


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


def spread_each(
    spark: Any, items: Sequence[tuple[int, T]], work: Callable[[T], R], *, per_core: int = 4
) -> tuple[list[R], list[Failed[T]]]:
    """As ``spread``, each item's outcome its own: (results, those that failed). What may pass is tried once more, after all others.

    Raises:
        EstuaireError: nothing of it could be done, and for no cause of the hospitals' (``ours_to_mend``): a server is away, a secret is
            missing, the disk is full. It is the stage's then.
    """
    weights = [weight for weight, _ in items]
    tried = {i: item for i, (_, item) in enumerate(items)}
    found: dict[int, R | Failed[T]] = {}
    for _ in range(2):
        wave = [(weights[i], _Numbered(i, item)) for i, item in tried.items()]
        for number, outcome in spread(spark, wave, partial(_numbered, work), per_core=per_core):
            found[number] = outcome
        tried = {i: o.item for i, o in found.items() if isinstance(o, Failed) and o.error.retryable}
    failed = [o for o in found.values() if isinstance(o, Failed)]
    results = [o for o in found.values() if not isinstance(o, Failed)]
    if not results:
        refuse_all([o.error for o in failed])
    return results, failed


def ours_to_mend(error: EstuaireError) -> bool:
    """Whether an error is none that a hospital's delivery can meet by what it holds, nor one that nobody foresaw."""
    return error.explained is None and not isinstance(error, TaskFailed)


def refuse_all(errors: Sequence[EstuaireError]) -> None:
    """Raises the first of the errors of everything that was tried, where all of them are ours to mend."""
    if errors and all(map(ours_to_mend, errors)):
        raise errors[0]


@dataclass(frozen=True)
class _Numbered(Generic[T]):
    number: int
    item: T


def _numbered(work: Callable[[T], R], one: _Numbered[T]) -> tuple[int, R | Failed[T]]:
    return one.number, attempted(work, one.item)
