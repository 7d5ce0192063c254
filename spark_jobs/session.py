"""The Spark session and the way work is spread over its tasks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from estuaire.base import disk_space, metering, private_files, progress
from estuaire.base.errors import PASSING, EstuaireError, TaskFailed, TaskKilled, unforeseen
from estuaire.base.settings import Settings
from estuaire.storage import s3a

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


@dataclass(frozen=True)
class _Numbered(Generic[T]):
    number: int
    item: T


def place_of(item: object) -> dict[str, str | None]:
    """Hospital, delivery and file of a piece of work, or of the first of a packet."""
    item = item.item if isinstance(item, _Numbered) else item
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
        told = unforeseen(disk_space.typed(error) or error, **place_of(item))
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


def spread_survivors(
    spark: Any, items: Sequence[tuple[int, T]], work: Callable[[T], R], *, per_core: int = 4
) -> tuple[list[R], list[Failed[T]]]:
    """Run ``work`` on every item inside Spark tasks, packed by weight: (results in no particular order, items whose process was killed twice).

    Each packet is a Spark job of its own: one whose process is killed (out of memory, a fault in native code) loses its own results, not
    the others'. Its items are tried once more, after all others and one at a time, so that none pays for its neighbour.

    Raises:
        EstuaireError: an item's own error (see ``guarded``).
        TaskKilled: nothing was done and items of several hospitals were killed: it is no hospital's.
    """
    if not items:
        return [], []
    context = spark.sparkContext
    cores = context.defaultParallelism
    results: list[R] = []
    suspects: list[T] = []
    with ThreadPoolExecutor(cores, thread_name_prefix="packet") as lanes:
        packets = {
            lanes.submit(_job, context, packet, work): packet for packet in bins(items, max(1, cores * per_core))
        }
        try:
            for done in as_completed(packets):
                outcome = done.result()
                results += outcome or []
                suspects += packets[done] if outcome is None else []
                progress.made()
        except BaseException:
            lanes.shutdown(wait=False, cancel_futures=True)
            raise
    killed: list[Failed[T]] = []
    for item in suspects:
        outcome = _job(context, [item], work)
        progress.made()
        results += outcome or []
        if outcome is None:
            killed.append(Failed(item, killed_twice(item)))
            if not results and len({place_of(k.item)["hospital"] for k in killed}) >= _NOBODYS:
                raise killed[0].error
    return results, killed


_NOBODYS = 3  # hospitals whose work was killed and none whose was done: it is the machine


@dataclass(frozen=True)
class _Used:
    """What a worker used for a packet."""

    cpu_seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class _Raised:
    """The error of ours that ended a packet."""

    error: EstuaireError


def _job(context: Any, packet: list[T], work: Callable[[T], R]) -> list[R] | None:
    """One packet as a Spark job; None where the process that did it ended before its work did.

    Raises:
        EstuaireError: an item's own error. It comes back as what a task gives, with its class and fields: raised in the task, Spark would
            make a text of it.
    """

    def run(part: Iterator[list[T]]) -> Iterator[R | _Used | _Raised]:
        private_files.start()  # a worker is a child of the JVM, not of the driver
        before, _ = metering.used_by_this_process()
        for given in part:
            for item in given:
                try:
                    done = guarded(work, item)
                except EstuaireError as error:
                    yield _Raised(error)
                    return
                yield done
        after, peak = metering.used_by_this_process()
        yield _Used(after - before, peak)

    try:
        told: list[R | _Used | _Raised] = context.parallelize([packet], 1).mapPartitions(run).collect()
    except Exception as error:
        if not _KILLED.search(str(error)):
            raise
        return None
    raised = next((t for t in told if isinstance(t, _Raised)), None)
    if raised is not None:
        raise raised.error
    done = [t for t in told if not isinstance(t, _Used | _Raised)]
    used = [t for t in told if isinstance(t, _Used)]
    if not context.master.startswith("local"):  # there the workers are processes of the driver's own tree
        for one in used:
            metering.elsewhere.add(one.cpu_seconds, one.peak_memory_bytes)
    return done


# what Spark tells of a task whose Python process, or executor, is gone
_KILLED = re.compile(
    r"Python worker exited unexpectedly|Python worker.{0,40}crashed|ExecutorLostFailure|Remote RPC client disassociated"
)


def killed_twice(item: object) -> TaskKilled:
    """The error of a piece of work whose process was killed each time."""
    return TaskKilled(
        "the process that worked on it was killed, and once more when nothing ran beside it (memory, or a fault in native code)",
        remedy="look at the machine's memory (`dmesg`, the task's log) and at the size of this file; the others went on, the next run "
        "tries it again",
        **place_of(item),
    )


def spread_each(
    spark: Any, items: Sequence[tuple[int, T]], work: Callable[[T], R], *, per_core: int = 4
) -> tuple[list[R], list[Failed[T]]]:
    """As ``spread_survivors``, each item's outcome its own: (results, those that failed). What may pass is tried once more, after all others.

    Raises:
        EstuaireError: nothing of it could be done, and for no cause of the hospitals' (``ours_to_mend``): a server is away, a secret is
            missing, the disk is full. It is the stage's then.
    """
    weights = [weight for weight, _ in items]
    tried = {i: item for i, (_, item) in enumerate(items)}
    outcomes: dict[int, R | Failed[T]] = {}
    for _ in range(2):
        wave = [(weights[i], _Numbered(i, item)) for i, item in tried.items()]
        done, killed = spread_survivors(spark, wave, partial(_numbered, work), per_core=per_core)
        outcomes |= dict(done) | {one.item.number: Failed(one.item.item, one.error) for one in killed}
        tried = {i: o.item for i, o in outcomes.items() if isinstance(o, Failed) and o.error.retryable}
    failed = [o for o in outcomes.values() if isinstance(o, Failed)]
    results = [o for o in outcomes.values() if not isinstance(o, Failed)]
    if not results:
        refuse_all([o.error for o in failed])
    return results, failed


def ours_to_mend(error: EstuaireError) -> bool:
    """Whether an error is none that a hospital's delivery can meet by what it holds, nor one that nobody foresaw."""
    return not error.explained and not isinstance(error, TaskFailed)


def refuse_all(errors: Sequence[EstuaireError]) -> None:
    """Raises the first of the errors of everything that was tried, where all of them are ours to mend."""
    if errors and all(map(ours_to_mend, errors)):
        raise errors[0]


def _numbered(work: Callable[[T], R], one: _Numbered[T]) -> tuple[int, R | Failed[T]]:
    return one.number, attempted(work, one.item)
