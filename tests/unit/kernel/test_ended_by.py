"""What a full delivery would end, told before it is landed, is what the consolidation ends with it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from fulls_world import BOTH, LAST, World, both, year_of

from estuaire.contract.registry import load_registry
from estuaire.contract.tables import load_contract
from estuaire.deliveries import confirmation
from estuaire.kernel.consolidate import Full, HospitalInput, Rejected, ended_by


def _by_table(files: list[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for table, path in files:
        found.setdefault(table, []).append(path)
    return found


def _weigh(world: World, files: int, full: Full, rejected: list[Rejected] | None = None) -> dict[str, tuple[int, int]]:
    """What ``full`` ends, of which all but the first ``files`` files are; the world's other fulls are those that stand."""
    standing = HospitalInput(
        load_registry().get("h01"), _by_table(world.files[:files]), [f for f in world.fulls if f is not full]
    )
    return ended_by(standing, full, _by_table(world.files[files:]), rejected or [], load_contract())


def _current(world: World) -> dict[str, set[Any]]:
    """Table -> identities of its current records."""
    return {
        t: {(r["row_uid_hi"], r["row_uid_lo"]) for r in duckdb.sql(f"from '{o.output}'").fetchdf().to_dict("records")}
        for t, o in world.consolidate().items()
    }


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize(
    ("cut", "ended"), [((1, 2, 3, 4), 0), ((1, 2, 3), 1), ((1, 2), 2), ((), 4)], ids=["whole", "one less", "half", "header only"]
)  # fmt: skip
def test_a_full_cut_at_a_record_ends_what_it_omits_of_its_period(
    world: World, cut: tuple[int, ...], ended: int
) -> None:
    world.deliver(1, both(year_of(2023, 1, 2), year_of(2024, 1, 2, 3, 4)), BOTH)
    files = len(world.files)
    names = year_of(2024, 1)
    world.deliver(2, {t: year_of(2024, *cut).get(t, []) if cut else [] for t in names}, LAST)
    found = _weigh(world, files, world.fulls[1])
    events = ("stay", "movement", "diagnosis", "specimen", "isolate", "susceptibility")
    assert {t: found[t] for t in events} == dict.fromkeys(events, (ended, 4))
    assert found["patient"] == (min(ended, 2), 2)  # those of 2023 name the others still
    limits: Any = SimpleNamespace(full_may_end=0.25, full_may_end_by_table={})
    assert ("stay" in confirmation.too_many(limits, found)) == (ended > 1)


def test_what_is_told_is_what_the_consolidation_then_ends(world: World) -> None:
    world.deliver(1, both(year_of(2023, 1, 2), year_of(2024, 1, 2, 3, 4)), BOTH)
    world.deliver(2, {"stay": ["n2024-4;p4;04/03/2024 10:00;05/03/2024 10:00;full"]})
    before, files = _current(world), len(world.files)
    world.deliver(3, both(year_of(2024, 2, 4), year_of(2024, 9)), LAST)
    told = _weigh(world, files, world.fulls[1])
    after = _current(world)
    keys = {"stay": "stay_id", "specimen": "specimen_id", "patient": "patient_id", "unit": "unit_code"}
    for table, key in keys.items():
        left = {r[key] for r in world.rows(table)}
        gone = before[table] - after[table]
        by_uid = {
            (h, low): k
            for path in _by_table(world.files)[table]
            for h, low, k in duckdb.sql(f"select row_uid_hi, row_uid_lo, {key} from '{path}'").fetchall()
        }
        assert told[table][0] == sum(by_uid[u] not in left for u in gone), table


def test_a_record_that_the_full_holds_and_that_was_set_aside_is_not_ended(world: World) -> None:
    world.deliver(1, {"stay": [f"s{n};p{n};0{n}/03/2024 10:00;;full" for n in (1, 2)]}, BOTH)
    files = len(world.files)
    world.deliver(2, {"stay": ["s1;p1;01/03/2024 10:00;;full", "s2;p2;never;;full"]}, BOTH)
    assert _weigh(world, files, world.fulls[1])["stay"] == (1, 2)
    assert _weigh(world, files, world.fulls[1], world.rejected)["stay"] == (0, 2)


def test_the_share_is_that_of_each_table(world: World) -> None:
    limits: Any = SimpleNamespace(full_may_end=0.2, full_may_end_by_table={"unit": 1.0, "stay": 0.0})
    ends = {"unit": (3, 3), "stay": (1, 1000), "specimen": (20, 100), "isolate": (21, 100)}
    assert confirmation.too_many(limits, ends) == ["isolate", "stay"]
    assert confirmation.too_many(limits, {"stay": (0, 1000)}) == []
