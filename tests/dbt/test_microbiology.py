"""First isolates and the antibiogram on a real PostgreSQL, against an independent computation."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import amr_isolates
import independent_microbiology as independent
import microbiology_world
import pytest
import staging_world
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2.extensions import connection
from psycopg2.extras import execute_values
from scipy import stats

from estuaire.base.settings import Settings
from estuaire.storage.platform import Platform
from estuaire.warehouse import dbt_build
from estuaire.warehouse.publish import build_and_publish

SHOWN = (
    "all", "patient", "m39", "ears_net", "glass", "episode_30", "episode_365", "phenotype_30", "phenotype_365"
)  # fmt: skip
REFERENCE = dbt_build.PROJECT / "seeds" / "reference"


@pytest.fixture(scope="module")
def world(warehouse: connection) -> independent.Tables:
    tables = microbiology_world.draw(20240501)
    for name, rows in amr_isolates.tables(amr_isolates.read()).items():
        tables[name] = tables[name] + rows
    with warehouse.cursor() as cur:
        staging_world.load(cur, tables)
    return tables


@pytest.fixture(scope="module")
def owner(warehouse: connection, world: independent.Tables, warehouse_settings: Settings, rules: Path) -> Iterator[Any]:
    assert build_and_publish(Platform(warehouse_settings), "run-1", 42, "abc123", rules=rules).state == "published"
    with warehouse.cursor() as cur:
        yield cur


def test_first_isolates_equal_an_independent_computation(owner: Any, world: independent.Tables) -> None:
    wanted = {
        (independent.key(*isolate), method, scope, among): found
        for (isolate, method, scope, among, nature), found in independent.first_isolates(world).items()
        if nature == "all"
    }
    owner.execute(
        "select isolate_key, method, dedup_scope, among, excluded_because from marts.first_isolate "
        "where method <> 'all' or excluded_because is distinct from 'same_draw'"
    )
    found = {tuple(row[:4]): row[4] for row in owner.fetchall()}
    assert found == {k: why for k, (why, first) in wanted.items() if first}
    owner.execute(
        "select isolate_key, dedup_scope, among from marts.first_isolate where excluded_because = 'same_draw'"
    )
    repeats = {(k[0], k[2], k[3]) for k, (why, _) in wanted.items() if why == "same_draw"}
    assert set(owner.fetchall()) == repeats
    assert len(repeats) >= 40
    assert {why for why, _ in wanted.values()} == {
        None, "no_specimen", "non_organism", "unmapped_organism", "screening", "unknown_purpose", "not_final", "same_draw"
    }  # fmt: skip
    n = {
        m: sum(f for (_, method, _, _), (w, f) in wanted.items() if method == m and w is None)
        for m in independent.METHODS
    }
    assert n["patient"] < n["episode_365"] < n["episode_30"] < n["episode_14"] < n["episode_7"] < n["all"]
    assert n["patient"] < n["m39"] < n["glass"]
    assert n["episode_30"] < n["phenotype_30"]


def test_first_isolates_of_a_nature_equal_an_independent_computation(owner: Any, world: independent.Tables) -> None:
    """Every bit of first_by_in_nature."""
    wanted = {
        (independent.key(*isolate), scope, among, method)
        for (isolate, method, scope, among, nature), (why, first) in independent.first_isolates(world).items()
        if nature != "all" and first and why is None
    }
    bits = ", ".join(f"('{m}', {2**n})" for n, m in enumerate(independent.METHODS))
    owner.execute(
        f"select isolate_key, dedup_scope, among, method from conformed.isolate_episode join (values {bits}) as b (method, bit) "
        "on first_by_in_nature & bit > 0 where excluded_because is null"
    )
    assert set(owner.fetchall()) == wanted


@pytest.mark.parametrize("among", ["all_isolates", "tested"])
@pytest.mark.parametrize("method", amr_isolates.METHODS)
def test_first_isolates_are_those_of_the_amr_package(owner: Any, among: str, method: str) -> None:
    """2,000 isolates: the flags of AMR 3.0.0 (R), row by row."""
    rows = amr_isolates.read()
    names = {independent.key(amr_isolates.HOSPITAL, r["isolate"], r["number"]): r["isolate"] for r in rows}
    owner.execute(
        "select isolate_key from marts.first_isolate where hospital_id = %s and dedup_scope = 'hospital' and method = %s and among = %s",
        (amr_isolates.HOSPITAL, method, among),
    )
    assert len(rows) == 2000
    assert {names[k] for (k,) in owner.fetchall()} ^ amr_isolates.expected(rows)[among, method] == set()


def test_the_fixture_is_what_the_generator_draws() -> None:
    drawn = amr_isolates.draw()
    assert [{k: r[k] for k in drawn[0]} for r in amr_isolates.read()] == drawn


def test_every_isolate_is_in_method_all(owner: Any, world: independent.Tables) -> None:
    owner.execute(
        "select count(*) from marts.first_isolate where method = 'all' and dedup_scope = 'hospital' and among = 'all_isolates'"
    )
    assert owner.fetchone() == (len(world["isolate"]),)


@pytest.mark.parametrize("mart", ["first_isolate", "cumulative_antibiogram"])
def test_every_row_says_which_release_it_is(owner: Any, mart: str) -> None:
    owner.execute(
        f"select distinct m.release_id = r.release_id, lake_snapshot, m.code_version from marts.{mart} as m, control.release as r"
    )
    assert owner.fetchall() == [(True, 42, "abc123")]


def test_episode_numbers_count_the_episodes(owner: Any) -> None:
    owner.execute(
        "select count(*) filter (where firsts <> 1), count(*) from (select count(*) filter (where first_by & bit > 0) as firsts "
        "from conformed.isolate_episode join (values (2, 2), (4, 3), (8, 4), (32, 6), (64, 7), (128, 8), (256, 9)) as b (bit, place) on true "
        "where excluded_because is null and split_part(episode_numbers, ' ', place) <> '0' "
        "group by place, dedup_scope, among, case when dedup_scope = 'hospital' then hospital_id end, patient_key, species, "
        "split_part(episode_numbers, ' ', place)) as episodes"
    )
    wrong, episodes = owner.fetchone()
    assert (wrong, episodes > 1000) == (0, True)


def test_the_antibiogram_equals_an_independent_computation(owner: Any, world: independent.Tables) -> None:
    wanted = independent.antibiogram(world, SHOWN)
    owner.execute(
        "select hospital_id, method, among, year, species, agent_code, breakpoint_indication, specimen_nature, isolates, "
        "undetermined, susceptible, increased_exposure, i_guideline_unknown, intermediate, resistant, tested "
        "from marts.cumulative_antibiogram"
    )
    rows = owner.fetchall()
    assert {row[:8]: list(row[8:15]) for row in rows} == wanted
    assert all(row[15] == sum(row[10:15]) for row in rows)
    assert {"group", *microbiology_world.HOSPITALS, amr_isolates.HOSPITAL} == {row[0] for row in rows}
    assert {"general", "meningitis", "uncomplicated_urinary", "unknown"} == {row[6] for row in rows}
    assert sum(row[12] for row in rows) > 50


def test_percentages_and_intervals_equal_scipy_and_appear_from_30_on(owner: Any) -> None:
    owner.execute(
        "select tested, resistant, susceptible, increased_exposure, intermediate + i_guideline_unknown, below_30, pct_resistant, "
        "pct_susceptible, pct_increased_exposure, pct_intermediate + pct_i_guideline_unknown, pct_resistant_wilson_low, pct_resistant_wilson_high, "
        "pct_resistant_exact_low, pct_resistant_exact_high from marts.cumulative_antibiogram"
    )
    shown = 0
    for tested, r, s, sfp, i, below, *numbers in owner.fetchall():
        assert below == (tested < 30)
        if below:
            assert numbers == [None] * 8
            continue
        shown += 1
        share = stats.binomtest(r, tested)
        wilson, exact = share.proportion_ci(method="wilson"), share.proportion_ci(method="exact")
        wanted = [r / tested, s / tested, sfp / tested, i / tested, wilson.low, wilson.high, exact.low, exact.high]
        assert [float(n) for n in numbers] == pytest.approx([100 * w for w in wanted], abs=0.00101)
    assert shown > 20


def test_the_tables_are_described_in_the_database(owner: Any) -> None:
    owner.execute(
        "select c.relname, count(*) filter (where col_description(c.oid, a.attnum) is null) from pg_class as c "
        "join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped "
        "join pg_namespace as n on n.oid = c.relnamespace where n.nspname in ('marts', 'conformed') and c.relname in "
        "('isolate_episode', 'isolate_result', 'organism_species', 'intrinsic_resistance', 'first_isolate', "
        "'cumulative_antibiogram', 'expected_resistance', 'isolate_content', 'organism_synonym', 'analysis_species') "
        "group by c.relname"
    )
    rows = owner.fetchall()
    assert len(rows) == 10
    assert [name for name, bare in rows if bare] == []


def intrinsic() -> set[tuple[str, str]]:
    with (REFERENCE / "expected_resistance.csv").open(encoding="utf-8", newline="") as file:
        return {
            (row["organism_code"], agent) for row in csv.DictReader(file) for agent in row["agent_codes"].split(" ")
        }


@pytest.mark.parametrize(
    ("organism", "agent", "held"),
    [  # docs/domain/categories.md
        ("B_KLBSL_PNMN", "AMX", True),
        ("B_KLBSL_PNMN_OZAN", "AMX", True),
        ("B_PROTS_MRBL", "COL", True),
        ("B_PROTS_MRBL", "NIT", True),
        ("B_PSDMN_AERG", "CTX", True),
        ("B_ENTRC_FCLS", "CTX", True),
        ("B_ENTRC_FACM", "CTX", True),
        ("B_ENTRC", "CTX", True),
        ("B_ENTRC_AVIM", "CTX", True),
        ("B_STNTR_MLTP", "MEM", True),
        ("B_ENTRBC_CLOC-C", "AMC", True),
        ("B_ESCHR_COLI", "AMX", False),
        ("B_ESCHR_COLI", "AMP", False),
        ("B_ENTRC", "VAN", False),
        ("B_PSDMN_AERG", "CAZ", False),
        ("B_STPHY_AURS", "FOX", False),
    ],
)
def test_intrinsic_resistance_holds_the_examples(organism: str, agent: str, held: bool) -> None:
    assert ((organism, agent) in intrinsic()) == held


def test_intrinsic_resistance_names_only_known_codes() -> None:
    pairs = intrinsic()
    for place, name, column in ((0, "organism", "organism_code"), (1, "antimicrobial_agent", "agent_code")):
        with (REFERENCE / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            known = {row[column] for row in csv.DictReader(file)}
        assert {pair[place] for pair in pairs} <= known
    assert len(pairs) > 25_000


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    length=st.sampled_from((1, 7, 14, 30, 365)),
    people=st.lists(st.lists(st.integers(0, 1500), min_size=1, max_size=12), min_size=1, max_size=60),
)
def test_episode_starts_of_any_sequence(warehouse: connection, length: int, people: list[list[int]]) -> None:
    """One query over all the people of an example, against the loop of ``independent.episodes``."""
    origin = date(2020, 1, 1)
    sequences = [[origin + timedelta(days=n) for n in sorted(offsets)] for offsets in people]
    with warehouse.cursor() as cur:
        rows = execute_values(
            cur,
            f"select who, n, stats.episode_start(day, {length}) over (partition by who order by n rows unbounded preceding) "
            "from (values %s) as v (who, n, day) order by who, n",
            [(who, n, day) for who, days in enumerate(sequences) for n, day in enumerate(days)],
            template="(%s, %s, %s::date)",
            page_size=10_000,
            fetch=True,
        )
    wanted = []
    for who, days in enumerate(sequences):
        numbers = independent.episodes(days, length)
        wanted += [(who, n, days[numbers.index(number)]) for n, number in enumerate(numbers)]
    assert rows == wanted
