"""Notices that deliveries arrived in landing/, for a schedule: a trigger of Airflow that looks at the folder or bucket again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import structlog
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from estuaire.base.settings import Settings
from estuaire.deliveries.landing_scan import Seen, to_take_up
from estuaire.storage.platform import Platform

_log = structlog.get_logger(__name__)
FORGOTTEN_AFTER = 900.0  # seconds after which what was told and nobody took up is told again (Airflow lost the event, or a run failed)


class Arrivals:
    """Decides when to tell of deliveries: once they have settled, together, and not while the last word is still to be heard.

    A delivery has settled when two looks in a row find it the same. What was told is taken up when the next look no longer finds it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before: frozenset[Seen] = frozenset()
        self._told: frozenset[Seen] = frozenset()
        self._told_at = 0.0

    def look(self, waiting: frozenset[Seen]) -> list[Seen]:
        """Deliveries to tell of now, among those that wait; none while some that were told still wait to be taken up."""
        settled, self._before = waiting & self._before, waiting
        self._told &= waiting
        if self._told and self._clock() - self._told_at < FORGOTTEN_AFTER:
            return []
        self._told, self._told_at = settled, self._clock()
        return sorted(settled)


class DeliveriesArrived(BaseEventTrigger):
    """One event for the deliveries that have arrived since the last one, many together.

    Args:
        every: seconds between two looks; a delivery is told of between one and two of them after its last byte was written.
    """

    def __init__(self, every: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow does not type it
        self.every = every

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Path and arguments, from which the triggerer makes it anew."""
        return ("estuaire.orchestration.arrivals.DeliveriesArrived", {"every": self.every})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look for ever. A store or a database that does not answer is asked again at the next look."""
        arrivals, platform, silent = Arrivals(), Platform(Settings()), False
        while True:
            try:
                waiting = await asyncio.to_thread(to_take_up, platform)
            except Exception as error:  # noqa: BLE001 - one look that fails must not end the watch
                if not silent:
                    _log.warning("landing_not_read", code=getattr(error, "code", type(error).__name__))
                silent = True
            else:
                silent = False
                told = arrivals.look(waiting)
                if told:
                    yield TriggerEvent({"deliveries": [f"{hospital}/{delivery}" for hospital, delivery, _ in told]})
            await asyncio.sleep(self.every)
