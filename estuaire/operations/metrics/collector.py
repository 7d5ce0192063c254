"""One scrape: every part measured, each alone. A part that fails is told by ``estuaire_scrape_error``, and the others stand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial

import psycopg2
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from estuaire.base.errors import DatabaseUnavailable, EstuaireError
from estuaire.contract.registry import Registry
from estuaire.operations.metrics import ledger_parts, outside
from estuaire.operations.metrics.catalogue import METRICS, Sample
from estuaire.operations.metrics.look import Look, asking, transaction
from estuaire.storage.platform import Platform

PATIENCE = 5.0  # seconds for one statement or one request
BUDGET = 14.0  # seconds after which no further part is begun: Prometheus waits for 20 (infra/prometheus/prometheus.yml)


class PlatformCollector(Collector):
    """What prometheus_client asks for the samples of a scrape; one scrape at a time."""

    def __init__(self, platform: Platform, patience: float = PATIENCE) -> None:
        self._platform = platform
        self._patience = patience
        self._airflow = outside.Airflow(platform.settings, patience)
        self._alone = threading.Lock()
        self._kept: dict[str, tuple[object, list[Sample]]] = {}

    def describe(self) -> Iterable[Metric]:
        """Nothing is measured before the first scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        with self._alone:
            samples = list(self._samples())
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for name, labels, value in samples:
            if name not in families:
                metric = METRICS[name]
                kind = CounterMetricFamily if metric.kind(name) == "counter" else GaugeMetricFamily
                families[name] = kind(name, metric.help, labels=metric.labels)
            families[name].add_metric(labels, float(value))
        yield from families.values()

    def _samples(self) -> Iterator[Sample]:
        end = time.monotonic() + BUDGET
        parts: dict[str, Callable[[], Iterable[Sample]]] = {
            "disks": lambda: outside.disks(self._platform.settings),
            "store": lambda: outside.store(self._platform.settings, self._patience),
        }
        try:
            with transaction(self._platform.database, self._patience) as connection:
                ask = asking(connection)
                ask("select 1")
                yield "estuaire_database_up", (), 1
                registry = Registry({})  # where it cannot be read, a hospital is an unknown one
                try:
                    registry = self._platform.registry
                    yield "estuaire_scrape_error", ("registry",), 0
                except (EstuaireError, OSError):
                    yield "estuaire_scrape_error", ("registry",), 1
                look = Look(self._platform.settings, registry, datetime.now(UTC), ask)
                for name in ledger_parts.PARTS:
                    yield from self._measured(name, partial(self._of_the_ledger, name, look), end)
        except (DatabaseUnavailable, psycopg2.Error):
            yield "estuaire_database_up", (), 0
            for name in ledger_parts.PARTS:
                yield "estuaire_scrape_error", (name,), 1
        for name, outer in parts.items():
            yield from self._measured(name, outer, end)
        yield from self._measured("airflow", self._airflow.measure, end)

    def _of_the_ledger(self, name: str, look: Look) -> list[Sample]:
        part = ledger_parts.PARTS[name]
        if name not in ledger_parts.LEDGER_ONLY:
            return list(part(look))
        stand = ledger_parts.stages_ended(look)
        if self._kept.get(name, (None,))[0] != stand:
            self._kept[name] = (stand, list(part(look)))
        return self._kept[name][1]

    def _measured(self, name: str, part: Callable[[], Iterable[Sample]], end: float) -> Iterator[Sample]:
        """The part's samples, or none: half of a part would be taken for the whole."""
        began = time.monotonic()
        samples: list[Sample] = []
        failed = began > end
        if not failed:
            try:
                samples = list(part())
            except Exception:  # noqa: BLE001 - whatever it is, it is told, and the other parts are measured; its words may hold values
                failed = True
        yield from samples
        yield "estuaire_scrape_error", (name,), failed
        yield "estuaire_scrape_seconds", (name,), time.monotonic() - began
