"""A full delivery ends what it omits in its tables and period only; rows without a date lie where their parent does."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fulls_world import BOTH, HEADERS, LAST, World, both, year_of
from one_file import pseudonym


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def sample(number: str) -> str | None:
    return pseudonym("specimen", "specimen_id", number)


def test_a_full_of_2024_leaves_what_is_of_2023(world: World) -> None:
    world.deliver(1, both(year_of(2023, 1, 2), year_of(2024, 1, 2, 3)), BOTH)
    world.deliver(2, year_of(2024, 1, 2), LAST)
    kept = ("stay", "movement", "diagnosis", "specimen", "isolate", "susceptibility")
    assert {t: n for t, n in world.counts().items() if t in kept} == dict.fromkeys(kept, 4)
    assert {r["flags"] for t in kept for r in world.rows(t)} == {None}


def test_patients_and_units_stay_while_a_record_names_them(world: World) -> None:
    world.deliver(1, both(year_of(2023, 1, patient="old"), year_of(2024, 2, 3)), BOTH)
    world.deliver(2, year_of(2024, 2), LAST)
    patients = {r["patient_id"] for r in world.rows("patient")}
    assert patients == {pseudonym("patient", "patient_id", p) for p in ("old1", "p2")}  # nothing of p3 is left
    assert {r["unit_code"] for r in world.rows("unit")} == {"u2023", "u2024"}
    world.deliver(3, year_of(2024, 2), BOTH)
    assert (world.counts()["patient"], [r["unit_code"] for r in world.rows("unit")]) == (1, ["u2024"])


def test_a_full_without_some_tables_makes_no_orphan(world: World) -> None:
    """The second full holds patients and stays only: what it does not hold still names the patient whom it omits."""
    world.deliver(1, both(year_of(2024, 1, 2)), BOTH)
    second = {t: r for t, r in year_of(2024, 1).items() if t in ("patient", "stay")}
    world.deliver(2, second, BOTH)
    assert world.counts() | {"stay": 1} == dict.fromkeys(HEADERS, 2) | {"unit": 1, "stay": 1}
    assert {r["flags"] for r in world.rows("specimen")} == {None}


def test_an_isolate_that_the_full_omits_of_a_specimen_that_it_holds_is_ended(world: World) -> None:
    world.deliver(1, both(year_of(2024, 1), {"isolate": ["x2024-1;2;B_ESCHR_COLI;final"]}), BOTH)
    assert world.counts()["isolate"] == 2
    world.deliver(2, year_of(2024, 1), LAST)
    assert [r["isolate_number"] for r in world.rows("isolate")] == [1]


def test_the_parents_date_is_the_one_that_the_full_knew(world: World) -> None:
    """Moved to 2024 before the full of 2024 that omits it: ended with its specimen. Moved afterwards: the full knew it in 2023."""
    world.deliver(1, both(year_of(2023, 1, 2), year_of(2024, 5)), BOTH)
    world.deliver(2, {"specimen": ["x2023-1;p1;blood;diagnostic;02/01/2024 10:00"]})
    world.deliver(3, year_of(2024, 5), LAST)
    world.deliver(4, {"specimen": ["x2023-2;p2;blood;diagnostic;02/01/2024 10:00"]})
    assert {r["specimen_id"] for r in world.rows("isolate")} == {sample("x2023-2"), sample("x2024-5")}
    assert {r["specimen_id"] for r in world.rows("susceptibility")} == {sample("x2023-2"), sample("x2024-5")}
    assert {r["specimen_id"] for r in world.rows("specimen")} == {sample("x2023-2"), sample("x2024-5")}


def test_a_deleted_specimen_still_dates_its_isolates(world: World) -> None:
    world.deliver(1, both(year_of(2023, 1), year_of(2024, 2, 3)), BOTH)
    world.deliver(2, {"specimen": ["x2023-1;;;;;delete", "x2024-2;;;;;delete"]})
    world.deliver(3, year_of(2024, 3), LAST)
    assert {r["specimen_id"] for r in world.rows("isolate")} == {sample("x2023-1"), sample("x2024-3")}


def test_a_parent_that_comes_after_the_full_dates_too(world: World) -> None:
    first = both(year_of(2023, 1), year_of(2024, 2, 3))
    world.deliver(1, {t: r for t, r in first.items() if t != "specimen"}, BOTH)
    world.deliver(2, year_of(2024, 3), LAST)
    assert world.counts()["isolate"] == 3  # 2023-1 and 2024-2: of no known date
    world.deliver(3, {"specimen": first["specimen"][:2]})
    assert {r["specimen_id"] for r in world.rows("isolate")} == {sample("x2023-1"), sample("x2024-3")}


def test_an_orphan_that_a_full_omits_is_kept_flagged_and_counted(world: World) -> None:
    lost = {
        "isolate": ["gone;1;B_ESCHR_COLI;final"],
        "susceptibility": ["gone;1;CTX;R"],
        "diagnosis": ["gone;1;N390;main"],
    }
    world.deliver(1, both(year_of(2023, 1), year_of(2024, 2), lost), BOTH)
    assert "isolate.omitted.undated" not in {f for r in world.rows("isolate") for f in (r["flags"] or "").split(",")}
    world.deliver(2, year_of(2024, 2), LAST)
    for table in lost:
        flagged = [r for r in world.rows(table) if f"{table}.omitted.undated" in (r["flags"] or "")]
        assert len(flagged) == 1
    assert world.counts()["isolate"] == 3


def test_a_key_quarantined_in_the_full_is_not_omitted_whatever_dates_it(world: World) -> None:
    world.deliver(1, both(year_of(2024, 1, 2)), BOTH)
    second = both(year_of(2024, 1, 2))
    second["isolate"] = ["x2024-1;1;B_ESCHR_COLI;final", "x2024-2;1;;final"]  # no organism
    world.deliver(2, second, LAST)
    assert {r["specimen_id"]: r["stale_correction"] for r in world.rows("isolate")} == {
        sample("x2024-1"): False, sample("x2024-2"): True,
    }  # fmt: skip


@pytest.mark.thorough
def test_any_order_of_the_same_deliveries_gives_the_same_result(world: World) -> None:
    lost = {"isolate": ["gone;1;B_ESCHR_COLI;final"]}
    world.deliver(1, both(year_of(2023, 1, 2, 3), year_of(2024, 1, 2, 3, 4), lost), BOTH)
    world.deliver(2, {"specimen": ["x2023-1;p1;blood;diagnostic;02/01/2024 10:00", "x2024-4;;;;;delete"]})
    world.deliver(3, year_of(2024, 1, 2), LAST)
    world.deliver(
        4, {"specimen": ["x2023-2;p2;blood;diagnostic;02/01/2024 10:00"], "diagnosis": ["n2023-3;2;J180;associated"]}
    )
    world.deliver(5, both(year_of(2024, 2, 4)), LAST)
    expected = world.consolidate()
    rng = random.Random(3)  # noqa: S311
    for _ in range(10):
        found = world.consolidate(shuffle=rng)
        assert {t: o.content_hash for t, o in found.items()} == {t: o.content_hash for t, o in expected.items()}
        assert {t: o.superseded for t, o in found.items()} == {t: o.superseded for t, o in expected.items()}
    for table, outcome in expected.items():  # nothing is lost
        landed = sum(pq.ParquetFile(path).metadata.num_rows for t, path in world.files if t == table)
        assert landed == outcome.rows + sum(n for n, _ in outcome.superseded.values())
