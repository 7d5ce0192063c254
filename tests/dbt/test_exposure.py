"""Exposure and resistance on a real PostgreSQL: every number against an independent computation, and the seeds that drive it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

import exposure_world
import independent_exposure as independent
import pytest
import staging_world
from psycopg2.extensions import connection

from estuaire.base.settings import Settings
from estuaire.simulator import catalogue, effects
from estuaire.warehouse import dbt_build

SEED = 20260301


@pytest.fixture(scope="module")
def world() -> exposure_world.World:
    return exposure_world.draw(SEED)


@pytest.fixture(scope="module")
def built(world: exposure_world.World, warehouse: connection, warehouse_settings: Settings) -> Iterator[Any]:
    """A cursor on the built candidate."""
    with warehouse.cursor() as cur:
        staging_world.load(cur, world)
        dbt_build.run(
            warehouse_settings,
            [
                "build",
                "--select",
                "+exposure_resistance",
                "--indirect-selection=cautious",
                "--exclude-resource-type=unit_test",
            ],
            log=warehouse_settings.logs / "exposure.log",
        )
        yield cur


@pytest.mark.parametrize("window", independent.WINDOWS)
@pytest.mark.parametrize("question", independent.QUESTIONS)
def test_each_person_is_as_the_words_say(built: Any, world: Any, question: str, window: tuple[int, int]) -> None:
    built.execute(
        "select patient_key, ward, indication, exposed, category, days_observable, days_observed, days_covered, standing, "
        "standing_unrestricted from conformed_next.index_exposure "
        "where (effect, window_days, excluded_last_days) = (%s, %s, %s)",
        (question, *window),
    )
    names = (
        *("ward", "indication", "exposed", "category", "days", "days_observed", "covered", "standing"),
        "standing_unrestricted",
    )
    found = {row[0]: dict(zip(names, row[1:], strict=True)) for row in built.fetchall()}
    expected = independent.people(world, question, *window)
    assert found == expected
    for name in (
        "ward",
        "indication",
        "exposed",
        "days_observed",
        "standing",
        "standing_unrestricted",
    ):  # else the comparison proves little
        assert len({p[name] for p in expected.values()}) >= 2, name


@pytest.mark.parametrize("window", independent.WINDOWS)
@pytest.mark.parametrize("question", independent.QUESTIONS)
def test_estimates_are_those_of_an_independent_computation(
    built: Any, world: Any, question: str, window: tuple[int, int]
) -> None:
    people = independent.people(world, question, *window)
    expected = independent.estimates(independent.tables(people))
    built.execute(
        "select estimate, odds_ratio, ci_low, ci_high, reason, exposed_cases, exposed_controls, unexposed_cases, unexposed_controls, "
        "index_isolates, not_observable, not_tested, mean_days_observable from marts_next.exposure_resistance "
        "where (effect, window_days, excluded_last_days) = (%s, %s, %s)",
        (question, *window),
    )
    rows = built.fetchall()
    assert {row[0] for row in rows} == set(expected)
    for estimate, odds_ratio, low, high, reason, *cells, index_isolates, not_observable, not_tested, mean in rows:
        whole, wanted = expected[estimate]
        standing = "standing_unrestricted" if estimate.startswith("unrestricted") else "standing"
        counted = [p for p in people.values() if p[standing] == "counted"]
        assert wanted is not None, "the world is too small to prove anything"
        assert reason is None
        assert [float(x) for x in (odds_ratio, low, high)] == pytest.approx(wanted, abs=0.0001)
        assert tuple(cells) == whole
        assert (index_isolates, not_observable, not_tested) == (
            len(people),
            sum(p[standing] == "not_observable" for p in people.values()),
            sum(p[standing] == "not_tested" for p in people.values()),
        )
        assert float(mean) == pytest.approx(sum(p["days"] for p in counted) / len(counted), abs=0.051)


def test_strata_are_the_tables_that_the_estimates_come_from(built: Any, world: Any) -> None:
    built.execute(
        "select effect, window_days, excluded_last_days, ward, indication, days_observed, exposed_cases, exposed_controls, "
        "unexposed_cases, unexposed_controls, odds_ratio, ci_low, ci_high from marts_next.exposure_resistance_stratum"
    )
    rows = built.fetchall()
    assert len(rows) == len(independent.QUESTIONS) * len(independent.WINDOWS) * 16
    for question, window, excluded, ward, indication, days, *rest in rows:
        cells = independent.tables(independent.people(world, question, window, excluded))[ward, indication, days]
        assert tuple(rest[:4]) == cells
        wanted = independent.woolf(cells)
        assert (rest[4] is None) == (wanted is None)
        if wanted:
            assert [float(x) for x in rest[4:]] == pytest.approx(wanted, abs=0.0001)


def test_the_independent_formulas_give_the_worked_vectors() -> None:
    """docs/domain/exposure.md; so that the two computations are not wrong together."""
    assert independent.woolf((60, 140, 45, 255)) == pytest.approx((2.429, 1.567, 3.764), abs=0.0006)
    assert independent.woolf((68, 72, 32, 176))[0] == pytest.approx(5.194, abs=0.0006)  # type: ignore[index]
    adjusted = independent.mantel_haenszel([(60, 40, 12, 16), (8, 32, 20, 160)])
    assert adjusted == pytest.approx((2.000, 1.076, 3.717), abs=0.0006)
    assert independent.woolf((0, 1, 1, 1)) is independent.mantel_haenszel([(0, 1, 1, 1)]) is None


def _seed(name: str) -> list[dict[str, str]]:
    with (dbt_build.PROJECT / "seeds" / "study" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_an_infection_is_what_the_seed_says_and_nothing_that_the_simulator_codes_beside() -> None:
    prefixes = tuple(r["code_prefix"] for r in _seed("infection_diagnosis"))
    assert len(prefixes) == len(set(prefixes)) > 20
    assert all("." not in p for p in prefixes)
    infections = {code for code in catalogue.DIAGNOSES if code.startswith(prefixes)}
    assert infections == set(catalogue.INFECTIONS)
    assert {p for p in independent.INFECTIONS if not p.startswith(prefixes)} == set()
    assert all(r["label_en"] and r["label_fr"] and r["source"] for r in _seed("infection_diagnosis"))


def test_the_planted_effects_are_questions_of_the_study() -> None:
    questions = {
        (r["effect"], r["exposure_atc"], r["organism_code"], r["agent_code"]) for r in _seed("exposure_effect")
    }
    assert {(e.name, e.atc, catalogue.INDEX_ORGANISM, e.agent) for e in effects.EFFECTS} <= questions
    windows = [(int(r["window_days"]), int(r["excluded_last_days"]), r["is_main"]) for r in _seed("exposure_lookback")]
    assert [w for w in windows if w[2] == "true"] == [(effects.WINDOW_DAYS, 0, "true")]
    assert {w[:2] for w in windows} == set(independent.WINDOWS)
