"""What one hospital's rows or files do ends at that hospital: the others are landed, consolidated and loaded, and it is said which is not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from calm_stages import Pair, pair, without_engines
from small_platform import SmallPlatform, dose

from estuaire.base import faults
from estuaire.stewardship.unmapped_codes import LONGEST
from estuaire.storage import set_aside
from estuaire.storage.ledger import Stage

__all__ = ["pair", "without_engines"]


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture(autouse=True)
def _no_faults_left() -> object:
    yield
    faults.clear()


def _states(platform: SmallPlatform, delivery: str) -> list[tuple[object, ...]]:
    return platform.ask(
        "select hospital_id, state, error_code from control.delivery where delivery_id = %s order by 1", delivery
    )


def _aside(platform: SmallPlatform) -> list[tuple[str, str, str]]:
    return [(r["hospital_id"], r["stage"], r["error_code"]) for r in set_aside.standing(platform.database)]


def test_what_the_ledger_would_refuse_is_refused_before_the_lakes_commit(pair: Pair) -> None:
    pair.deliver()
    pair.tried.execute("alter table control.landed_file add constraint broken check (hospital_id <> 'h01') not valid")
    pair.run("land")
    assert _states(pair.tried, "d1") == [("h01", "received", "E_LEDGER_REFUSED"), ("h02", "landed", None)]
    assert pair.tried.in_lake("select distinct hospital_id from lake.landed.administration") == [("h02",)]
    pair.tried.execute("alter table control.landed_file drop constraint broken")
    for stage in ("land", "consolidate", "load"):
        pair.run(stage)
    assert pair.tried.ask("select count(*) from staging.administration") == [(4,)]


def test_a_row_that_recovery_cannot_write_stops_its_hospital_alone(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the lake's commit; then the ledger will not take the rows of one hospital: before, every start failed on them."""
    pair.deliver()
    last = f"d{pair.deliveries}"
    with monkeypatch.context() as patched:
        patched.setattr(Stage, "fail", lambda *a: None)

        def strike() -> None:
            faults.clear()
            raise Killed

        faults.at("lake.committed", strike)
        with pytest.raises(Killed):
            pair.run("land")
    pair.tried.execute(
        f"alter table control.landed_file add constraint broken check (hospital_id <> 'h01' or delivery_id <> '{last}') not valid"
    )
    for stage in ("land", "consolidate", "load"):
        pair.run(stage)
    assert _states(pair.tried, last) == [("h01", "received", None), ("h02", "landed", None)]
    assert _aside(pair.tried) == [("h01", "land", "E_LEDGER_REFUSED")]
    assert pair.tried.ask("select count(*) from staging.administration where hospital_id = 'h02'") == [(4,)]
    pair.tried.execute("alter table control.landed_file drop constraint broken")
    for stage in ("land", "consolidate", "load"):
        pair.run(stage)
    assert _aside(pair.tried) == []
    assert pair.tried.in_lake("select count(*), count(distinct row_uid_lo) from lake.landed.administration") == [(8, 8)]
    assert pair.tried.ask("select count(*) from staging.administration") == [(8,)]


def test_a_lost_file_of_the_lake_stops_its_hospital_alone(pair: Pair) -> None:
    pair.deliver()
    pair.run("land")
    [(key,)] = pair.tried.ask(
        "select key from control.landed_file where hospital_id = 'h01' and delivery_id = %s", f"d{pair.deliveries}"
    )
    path = pair.tried.store.local_path(key)
    assert isinstance(path, Path)
    whole = path.read_bytes()
    for damage in (None, whole[: len(whole) // 2], b"PAR1"):
        path.unlink() if damage is None else path.write_bytes(damage)
        pair.run("consolidate")
        pair.run("load")
        assert _aside(pair.tried) == [("h01", "consolidate", "E_LAKE_FILE")]
        counted = "select hospital_id, count(*) from staging.administration group by 1 order by 1"
        assert pair.tried.ask(counted) == [("h01", 2 * pair.deliveries - 2), ("h02", 2 * pair.deliveries)]
    path.write_bytes(whole)
    pair.run("consolidate")
    pair.run("load")
    assert _aside(pair.tried) == []
    assert pair.tried.ask("select count(*) from staging.administration") == [(4 * pair.deliveries,)]


def test_a_lost_consolidated_file_is_retired_all_the_same(pair: Pair) -> None:
    """DuckLake reads what it deletes: before, the commit of every hospital failed on one hospital's lost file."""
    pair.deliver()
    pair.run("land")
    [lost] = [f for f in pair.tried.lake.list_files("consolidated", "administration") if "hospital=h01/" in f]
    Path(lost).unlink()
    pair.run("consolidate")
    pair.run("load")
    assert _aside(pair.tried) == []
    assert lost not in pair.tried.lake.list_files("consolidated", "administration")
    assert pair.tried.ask("select count(*) from staging.administration") == [(4 * pair.deliveries,)]


def test_a_code_too_long_for_an_index_is_cut_in_the_ledger(pair: Pair) -> None:
    """Random letters do not compress: PostgreSQL cannot index 2.7 kB of them."""
    letters = random.Random(1)  # noqa: S311
    code = "".join(letters.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") for _ in range(4000))
    pair.deliveries += 1
    record = dose("LONG").replace("J01DD04", code)
    pair.tried.deliver(f"d{pair.deliveries}", pair.deliveries, administration=[record])
    pair.run("land")
    pair.run("consolidate")
    [(kept,)] = pair.tried.ask("select local_code from control.unmapped_code where hospital_id = 'h01'")
    assert len(kept) == LONGEST
    assert kept.startswith(code[:100])
    assert pair.tried.in_lake("select max(length(drug_code_source)) from lake.consolidated.administration") == [(4000,)]
