"""Platforms of their own for tests on the real PostgreSQL, Spark and DuckLake, and one simulated world for all of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from local_spark import spark
from small_platform import SmallPlatform, create_database, migrated

from estuaire.base.settings import Settings
from estuaire.simulator import SimulationPlan, simulate
from estuaire.simulator.trap_catalogue import CATALOGUE

__all__ = ["migrated", "spark"]

BAD = ("h03", "2025-12-delta")
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def new_platform(
    migrated: Settings, spark: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], SmallPlatform]:
    """Makes an empty platform."""

    def make() -> SmallPlatform:
        name = f"platform_{next(_NUMBERS)}"
        create_database(migrated, name, "empty_platform")
        update = {"postgres_database": name, "store_root": tmp_path_factory.mktemp(name)}
        platform = SmallPlatform(migrated.model_copy(update=update), spark)
        platform.lake.ensure()
        return platform

    return make


@pytest.fixture
def platform(new_platform: Callable[[], SmallPlatform]) -> SmallPlatform:
    """An empty platform of this test's own."""
    return new_platform()


@dataclass(frozen=True)
class World:
    """A simulated world: three hospitals, three deliveries each, one of them with a wrong checksum."""

    folder: Path
    plan: SimulationPlan
    truth: dict[str, Any]

    def delivery(self, hospital: str, delivery: str) -> dict[str, Any]:
        found: dict[str, Any] = self.truth["hospitals"][hospital][delivery]
        return found


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Many traps, but few enough rejected records that only the wrong checksum blocks."""
    folder = tmp_path_factory.mktemp("world")
    rates = {
        t.name: 0.02
        if t.table != "administration"
        else {"rejected": 0.0015, "unparseable": 0.0008}.get(t.outcome, 0.004)
        for t in CATALOGUE
    }
    plan = SimulationPlan(
        patients=150, administrations_per_patient=120, shared_share=0.2, trap_rates=rates, bad_checksum=(BAD,)
    )
    summary = simulate(Settings(_env_file=None, home=folder / "home"), plan, target=folder)
    return World(folder, plan, json.loads(summary.truth_path.read_text(encoding="utf-8")))
