"""Runs a simulation over its hospitals, in this process or in several, and writes the truth file."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from estuaire.base.errors import SetupError
from estuaire.base.settings import Settings
from estuaire.contract.manifest import NAME
from estuaire.contract.registry import load_registry
from estuaire.simulator.delivery import LANDING, HospitalOutcome, write_hospital
from estuaire.simulator.effects import HospitalFacts, Planted, hospital_facts, plant
from estuaire.simulator.plan import SimulationPlan
from estuaire.simulator.population import hospital_weights
from estuaire.simulator.truth import DeliveryTruth, as_document, linked_people
from estuaire.storage.object_store import DirectoryStore, ObjectStore
from estuaire.storage.stores import open_store

TRUTH_VERSION = 1
Listener = Callable[[str, int], None]


@dataclass(frozen=True)
class SimulationSummary:
    """What was simulated: deliveries in order of hospital and sequence, where the truth stands, seconds taken."""

    deliveries: tuple[DeliveryTruth, ...]
    truth_path: Path
    seconds: float

    @property
    def rows(self) -> int:
        """Records of all deliveries, written now or there before."""
        return sum(d.rows for d in self.deliveries)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "hospitals": len({d.hospital for d in self.deliveries}),
            "deliveries": [
                {"hospital": d.hospital, "delivery": d.delivery, "rows": d.rows, "bytes": d.bytes, "state": d.state}
                for d in self.deliveries
            ],
            "rows": self.rows,
            "seconds": round(self.seconds, 2),
        }


def simulate(
    settings: Settings,
    plan: SimulationPlan,
    *,
    workers: int = 1,
    target: Path | None = None,
    listener: Listener | None = None,
) -> SimulationSummary:
    """Write the plan's deliveries into landing, and the truth beside the store.

    Args:
        workers: processes; the bytes do not depend on it.
        target: a folder that takes ``landing/`` and ``simulation/`` instead of the settings' store and home.
        listener: called with each hospital done and its records (0 once its people and stays are drawn, before anything is written).

    Raises:
        UnknownHospital: a hospital that the registry does not hold.
        DeliveryChanged: landing holds a delivery id with other bytes.
        SetupError: a hospital is a real one, or a faulty delivery is asked for that the plan does not have.
    """
    began = time.monotonic()
    registry = load_registry(settings.registry_dir)
    real = [hospital for hospital in plan.hospitals if not registry.get(hospital).fictional]
    if real:
        raise SetupError(
            f"{', '.join(real)}: a real hospital's deliveries are not simulated", remedy="name fictional hospitals"
        )
    known = {(h, w.delivery_id) for h in plan.hospitals for w in plan.windows}
    if not set(plan.bad_checksum) <= known:
        raise SetupError(
            "a faulty delivery is asked for that is not simulated", remedy="name a hospital and delivery id of the plan"
        )
    outcomes: dict[str, HospitalOutcome] = {}
    planted: Planted | None = None
    for outcome in _outcomes(settings, plan, workers, target, listener):
        if isinstance(outcome, Planted):
            planted = outcome
            continue
        outcomes[outcome.hospital] = outcome
        if listener:
            listener(outcome.hospital, sum(d.rows for d in outcome.deliveries))
    ordered = [outcomes[h] for h in plan.hospitals]
    path = (target or settings.root) / "simulation" / "truth.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(truth_document(plan, ordered, planted), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    deliveries = tuple(d for o in ordered for d in o.deliveries)
    return SimulationSummary(deliveries, path, time.monotonic() - began)


def already_written(settings: Settings, plan: SimulationPlan) -> int | None:
    """Records of the plan's deliveries where an earlier simulation of it wrote them all; None where it did not finish.

    The truth is written last; it names seed, size and deliveries, not the rates of traps and faults.
    """
    try:
        truth = json.loads((settings.root / "simulation" / "truth.json").read_text(encoding="utf-8"))
        same = truth["version"] == TRUTH_VERSION and truth["plan"] == _plan_document(plan)
        rows = sum(d["rows"] for h in truth["hospitals"].values() for d in h.values())
    except (OSError, ValueError, KeyError):
        return None
    store = open_store(settings)
    keys = [f"{LANDING}/{h}/{w.delivery_id}/{NAME}" for h in plan.hospitals for w in plan.sendings(h)]
    return int(rows) if same and all(store.stat(key) is not None for key in keys) else None


def _plan_document(plan: SimulationPlan) -> dict[str, Any]:
    return {
        "seed": plan.seed,
        "hospitals": list(plan.hospitals),
        "patients": plan.patients,
        "start": plan.start.isoformat(),
        "end": plan.end.isoformat(),
        "deliveries": [w.delivery_id for w in plan.written_windows],
    }


def truth_document(
    plan: SimulationPlan, outcomes: list[HospitalOutcome], planted: Planted | None = None
) -> dict[str, Any]:
    """The truth of all hospitals; see ``truth`` for its parts."""
    return {
        "version": TRUTH_VERSION,
        "plan": _plan_document(plan),
        "hospitals": {o.hospital: {d.delivery: as_document(d) for d in o.deliveries} for o in outcomes},
        "people_after": {
            str(w.sequence): linked_people([o.people_after[i] for o in outcomes])
            for i, w in enumerate(plan.written_windows)
        },
        "effects": planted.truth if planted else [],
    }


def _store(settings: Settings, target: Path | None) -> ObjectStore:
    return DirectoryStore(target) if target else open_store(settings)


def _facts(settings: Settings, plan: SimulationPlan, hospital: str) -> HospitalFacts:
    return hospital_facts(plan, load_registry(settings.registry_dir).get(hospital))


def _one(
    settings: Settings, plan: SimulationPlan, hospital: str, target: Path | None, planted: pl.DataFrame
) -> HospitalOutcome:
    entry = load_registry(settings.registry_dir).get(hospital)
    return write_hospital(plan, entry, _store(settings, target), planted)


def _outcomes(
    settings: Settings, plan: SimulationPlan, workers: int, target: Path | None, listener: Listener | None
) -> Iterator[HospitalOutcome | Planted]:
    """The planted effects, once every hospital's care is drawn; then each hospital as it is written.

    The largest first, so that the last worker is not left alone with it.
    """
    weights = hospital_weights(plan)
    largest_first = sorted(range(len(plan.hospitals)), key=lambda i: (-weights[i], i))
    hospitals = [plan.hospitals[i] for i in largest_first]

    def planted_by(facts: dict[str, HospitalFacts]) -> Planted:
        return plant(plan, [facts[h] for h in plan.hospitals])

    if workers <= 1:
        facts = {}
        for hospital in hospitals:
            facts[hospital] = _facts(settings, plan, hospital)
            if listener:
                listener(hospital, 0)
        planted = planted_by(facts)
        yield planted
        for hospital in hospitals:
            yield _one(settings, plan, hospital, target, planted.by_hospital[hospital])
        return
    # spawn, not fork: polars holds threads; one polars thread each, since the processes share the cores
    with (
        _environment("POLARS_MAX_THREADS", "1"),
        ProcessPoolExecutor(
            min(workers, len(hospitals)),
            mp_context=multiprocessing.get_context("spawn"),
            # Ctrl-C ends the workers at once, without a traceback each: a delivery without its manifest is written again
            initializer=signal.signal,
            initargs=(signal.SIGINT, signal.SIG_DFL),
        ) as pool,
    ):
        try:
            facts = {}
            for future in as_completed({pool.submit(_facts, settings, plan, h) for h in hospitals}):
                drawn = future.result()
                facts[drawn.hospital] = drawn
                if listener:
                    listener(drawn.hospital, 0)
            planted = planted_by(facts)
            yield planted
            for written in as_completed(
                {pool.submit(_one, settings, plan, h, target, planted.by_hospital[h]): h for h in hospitals}
            ):
                yield written.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
