"""Readers of the marts while releases are published and rolled back: counts reads, errors and mixed releases."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg2

from estuaire.base.settings import Settings
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform
from estuaire.warehouse import releases

TABLES = ("alpha", "beta", "gamma")
READERS = 4
SWAPS = 9  # at least: each kind three times


@dataclass
class Storm:
    """What the readers saw. A read is one transaction: one statement over all tables, or a statement per table, or both."""

    reads: int = 0
    swaps: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    releases_seen: Counter[int] = field(default_factory=Counter)
    rollback_seconds: list[float] = field(default_factory=list)


def _join(order: tuple[str, ...]) -> str:
    measures = ", ".join(f"min({t}.release_id), max({t}.release_id)" for t in order)
    return f"select {measures} from {', '.join(f'marts.{t}' for t in order)}"


def _union(order: tuple[str, ...]) -> str:
    return " union all ".join(f"select min(release_id), max(release_id) from marts.{t}" for t in order)


def _one_read(session: Any, order: tuple[str, ...], shape: int) -> set[int]:
    seen: set[int] = set()
    with session.cursor() as cur:
        if shape != 1:
            cur.execute(_join(order) if shape == 0 else _union(order))
            seen |= {value for row in cur.fetchall() for value in row}
        if shape != 0:
            for table in order:
                cur.execute(f"select distinct release_id from marts.{table}")
                seen |= {row[0] for row in cur.fetchall()}
    session.rollback()
    return seen


def read_while(settings: Settings, change: Callable[[], None], *, reads: int, swaps: int = 0) -> Storm:
    """Read with several analysts, each in another order, while ``change`` is called again and again.

    Ends once there were ``reads`` reads and ``swaps`` changes: how many of the one fit into the other is the machine's affair.
    """
    found = Storm()
    done = threading.Event()
    lock = threading.Lock()
    orders = list(itertools.permutations(TABLES))

    def reader(number: int) -> None:
        try:
            session = psycopg2.connect(Database.of(settings).dsn("analyst"))
            for turn in itertools.count(number):
                if done.is_set():
                    break
                seen = _one_read(session, orders[turn % len(orders)], turn % 3)
                with lock:
                    found.reads += 1
                    found.releases_seen.update(seen)
                    if len(seen) != 1:
                        found.problems.append(f"mixed or empty: {sorted(seen)}")
                    if found.reads >= reads and found.swaps >= swaps:
                        done.set()
            session.close()
        except psycopg2.Error as error:
            with lock:
                found.problems.append(f"{type(error).__name__}: {error}")
            done.set()

    began = time.monotonic()
    threads = [threading.Thread(target=reader, args=(n,)) for n in range(READERS)]
    for thread in threads:
        thread.start()
    try:
        while not done.is_set():
            change()
            found.swaps += 1
    finally:
        done.set()
        for thread in threads:
            thread.join(60)
    found.seconds = time.monotonic() - began
    return found


def storm(settings: Settings, owner: Any, publish: Callable[[Settings, Any], Any], *, reads: int) -> Storm:
    """Publish, roll back, go forward, publish again, while analysts read; old archives are dropped meanwhile, as in a real publish."""
    for _ in range(2):
        publish(settings, owner)
    rollbacks: list[float] = []
    turns = itertools.count()

    def change() -> None:
        turn = next(turns) % 3
        if turn == 0:
            publish(settings, owner)
            releases.prune(Database.of(settings))
            return
        newest = releases.list_releases(Database.of(settings))[0].release_id
        began = time.monotonic()
        releases.rollback(Platform(settings), to=None if turn == 1 else newest)
        rollbacks.append(time.monotonic() - began)

    found = read_while(settings, change, reads=reads, swaps=SWAPS)
    found.rollback_seconds = rollbacks
    return found
