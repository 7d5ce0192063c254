"""A full delivery that ends too much waits for a confirmation; what becomes empty is empty in staging, too (cases C27, C27b, C28)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from small_platform import H01, SmallPlatform, dose

from estuaire.base.errors import UnknownName
from estuaire.contract.manifest import parse_manifest
from estuaire.contract.registry import load_registry
from estuaire.deliveries import confirmation

HEADERS = {**H01, "unit": "UF;valid_from;valid_to;LIBELLE_UF;unit_type;geographic_finess"}
UNIT = ["3101;01/01/2020;;Médecine interne;MED;990000013"]
STAYS = ["900;77;10/03/2025 14:05;HC", "901;78;11/03/2025 14:05;HC"]
DOSES = [dose("A"), dose("B")]


@pytest.fixture(scope="module")
def shared(new_platform: Callable[[], SmallPlatform]) -> SmallPlatform:
    """A hospital with one full delivery, loaded."""
    platform = new_platform()
    platform.deliver("full-1", 1, kind="full", headers=HEADERS, unit=UNIT, stay=STAYS, administration=DOSES)
    assert platform.land()["landed"] == 1  # a first delivery ends nothing
    platform.consolidate()
    platform.load()
    return platform


def _staging(platform: SmallPlatform) -> dict[str, int]:
    tables = ("unit", "stay", "administration")
    return {t: platform.ask(f"select count(*) from staging.{t}")[0][0] for t in tables}


def _manifest(platform: SmallPlatform, delivery: str) -> Any:
    with platform.store.open(f"landing/h01/{delivery}/manifest.json") as stream:
        return parse_manifest(stream.read(), hospital="h01", delivery=delivery, registry=load_registry())


def test_a_full_cut_at_a_record_is_held_until_it_is_confirmed(shared: SmallPlatform) -> None:
    assert _staging(shared) == {"unit": 1, "stay": 2, "administration": 2}
    shared.deliver("full-2", 2, kind="full", headers=HEADERS, unit=UNIT, stay=STAYS[:1], administration=[])
    told = confirmation.would_end(shared, _manifest(shared, "full-2"))
    assert [(t.table, t.standing, t.delivered, t.asks) for t in told] == [
        ("administration", 2, 0, True),
        ("stay", 2, 1, True),
    ]
    assert "met fin à 1 au moins" in told[1].text("fr")
    assert shared.land()["landed"] == 0
    assert shared.state("full-2") == ("held", "E_FULL_HELD")
    [(error, ends)] = shared.ask("select error_what, ends from control.delivery where delivery_id = 'full-2'")
    assert ends == {"unit": [0, 1], "stay": [1, 2], "administration": [2, 2]}
    assert "administration: 2 of 2" in error
    assert "stay: 1 of 2" in error
    assert shared.in_lake("select count(*) from lake.landed.stay") == [(2,)]
    assert shared.land()["landed"] == 0  # the same bytes wait still
    assert shared.consolidate()["hospitals"] == []
    with pytest.raises(UnknownName):
        confirmation.confirm(shared.database, "h01", "full-3", "Jo")
    with pytest.raises(confirmation.NotHeld):
        confirmation.confirm(shared.database, "h01", "full-1", "Jo")
    assert confirmation.confirm(shared.database, "h01", "full-2", "Jo", "the ward moved")["stay"] == (1, 2)
    assert shared.state("full-2") == ("received", None)
    assert shared.land()["landed"] == 1
    assert shared.ask("select confirmed_by, reason from control.confirmation") == [("Jo", "the ward moved")]


def test_what_a_full_ended_whole_is_no_longer_in_staging(shared: SmallPlatform) -> None:
    assert shared.consolidate()["hospitals"] == ["h01"]
    assert shared.load()["hospitals"] == ["h01"]
    assert _staging(shared) == {"unit": 1, "stay": 1, "administration": 0}
    assert shared.ask("select count(*) from staging.administration_day") == [(0,)]


def test_a_last_row_deleted_is_gone_from_staging(shared: SmallPlatform) -> None:
    headers = {"unit": f"{HEADERS['unit']};op;source_updated_at"}
    shared.deliver(
        "delta-3", 3, headers=headers, unit=["3101;01/01/2020;;;;;delete;01/08/2025 08:00:00"],
    )  # fmt: skip
    assert shared.land()["landed"] == 1
    shared.consolidate()
    assert shared.load()["hospitals"] == ["h01"]
    assert _staging(shared) == {"unit": 0, "stay": 1, "administration": 0}


def test_rows_that_an_earlier_version_left_in_staging_go_with_the_next_load(shared: SmallPlatform) -> None:
    shared.execute(
        "create table staging.unit_h01_99 (like staging.unit); insert into staging.unit_h01_99 (hospital_id) values ('h01'); "
        "alter table staging.unit attach partition staging.unit_h01_99 for values in ('h01')"
    )
    assert _staging(shared)["unit"] == 1
    assert shared.load()["hospitals"] == ["h01"]
    assert _staging(shared)["unit"] == 0
    assert shared.load()["hospitals"] == []
