"""A true null on a real PostgreSQL: hospitalisation alone goes with exposure and resistance, and the main estimate says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import exposure_world
import pytest
import staging_world
from psycopg2.extensions import connection

from estuaire.base.errors import PublishFailed
from estuaire.base.settings import Settings
from estuaire.warehouse import dbt_build

UNRESTRICTED = (2.5432, 1.6198, 3.9930)  # by hand: 36 x 721 / (54 x 189), Woolf


def build(settings: Settings, *what: str) -> None:
    dbt_build.run(settings, list(what), log=settings.logs / "exposure_null.log")


@pytest.fixture(scope="module")
def built(warehouse: connection, warehouse_settings: Settings) -> Iterator[Any]:
    """A cursor on the built candidate."""
    with warehouse.cursor() as cur:
        staging_world.load(cur, exposure_world.true_null())
        build(
            warehouse_settings,
            *("build", "--select", "+exposure_resistance", "--indirect-selection=cautious", "--exclude-resource-type=unit_test"),
        )  # fmt: skip
        yield cur


def _main_window(cur: Any) -> dict[tuple[str, str], tuple[float, ...]]:
    cur.execute(
        "select effect, estimate, odds_ratio, ci_low, ci_high, people_counted, not_observable from marts_next.exposure_resistance "
        "where window_days = 90 and excluded_last_days = 0"
    )
    return {row[:2]: tuple(float(x) for x in row[2:]) for row in cur.fetchall()}


def test_the_main_estimate_holds_the_true_null_and_the_unrestricted_one_does_not(built: Any) -> None:
    found = _main_window(built)
    assert len(found) == 2 * 4
    for (_, estimate), (odds_ratio, low, high, counted, not_observable) in found.items():
        if estimate.startswith("unrestricted"):
            assert (odds_ratio, low) == pytest.approx(UNRESTRICTED[:2], abs=0.001)
            if estimate == "unrestricted_crude":  # the other has the interval of Robins, Breslow and Greenland
                assert high == pytest.approx(UNRESTRICTED[2], abs=0.001)
            assert (counted, not_observable) == (1000, 0)
        else:
            assert odds_ratio == 1.0, estimate
            assert low < 1 < high
            assert (counted, not_observable) == (330, 670)


def test_each_stratum_of_days_is_null_and_counts_days_in_either_hospital(built: Any) -> None:
    built.execute(
        "select days_observed, exposed_cases, exposed_controls, unexposed_cases, unexposed_controls, odds_ratio, days_observable "
        "from marts_next.exposure_resistance_stratum where window_days = 90 and excluded_last_days = 0 and people_counted > 0 "
        "and effect = 'fluoroquinolone_ciprofloxacin'"
    )
    found = {row[0]: (row[1:5], row[5], row[6]) for row in built.fetchall()}
    people = sum(exposure_world.NULL_CELLS)
    expected = {name: (exposure_world.NULL_CELLS, 1, days * people) for days, name in exposure_world.NULL_PRIOR}
    assert found == {**expected, "none": ((0, 0, *exposure_world.NULL_NEVER), None, 0)}


def test_a_question_of_an_intrinsic_pair_fails_the_build(built: Any, warehouse_settings: Settings) -> None:
    """Klebsiella pneumoniae is resistant to amoxicillin by nature: no dose given makes it so."""
    test = ("test", "--select", "exposure_effect_is_not_intrinsic")
    build(warehouse_settings, *test)
    built.execute(
        "insert into conformed_next.exposure_effect (effect, exposure_atc, organism_code, agent_code) "
        "values ('by_nature', 'J01CA', 'B_KLBSL_PNMN', 'AMX')"
    )
    try:
        with pytest.raises(PublishFailed, match="exposure_effect_is_not_intrinsic"):
            build(warehouse_settings, *test)
    finally:
        built.execute("delete from conformed_next.exposure_effect where effect = 'by_nature'")
