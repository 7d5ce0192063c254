"""The load's account: what consolidation gave out is in staging, or is left in the lake for a reason; else nothing is swapped in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_platform import H01, SmallPlatform, dose, rewrite_as

from estuaire.base.errors import AccountingImbalance
from estuaire.orchestration import tasks
from estuaire.report import data
from estuaire.storage.ledger import Account, begin_stage, write_accounts

PARACETAMOL = "J01DD04;1;g", "N02BE01;1;g"
PRESCRIBED = "prescription_id;IPP;CODE_PRODUIT;DATE_DEBUT;STATUT"


@pytest.fixture
def consolidated(platform: SmallPlatform) -> SmallPlatform:
    """Two deliveries: five doses, of which one is replaced and three are of no antibacterial; a prescription without a standard code."""
    platform.deliver(
        "d1", 1, patient=["77;01/01/1950;f;"], stay=["900;77;15/03/2025 10:00;HC"],
        administration=[dose("A"), dose("B"), dose("C").replace(*PARACETAMOL), dose("D").replace(*PARACETAMOL)],
        prescription=["R1;77;LOCAL-9;16/03/2025 08:00;EC"], headers={**H01, "prescription": PRESCRIBED},
    )  # fmt: skip
    platform.deliver(
        "d2", 2, administration=[f"{dose('B', '2')};upsert", f"{dose('E').replace(*PARACETAMOL)};upsert"],
        headers={"administration": "administration_id;IPP;NDA;drug_code;dose;dose_unit;route;given_at;status;op"},
    )  # fmt: skip
    assert platform.land()["landed"] == 2
    done = platform.consolidate()
    assert done["hospitals"] == ["h01"], platform.ask(
        "select reasons from quality.verdict where stage = 'consolidated'"
    )
    return platform


def _accounts(platform: SmallPlatform) -> dict[tuple[str, str], tuple[int, int, int, dict[str, int]]]:
    rows = platform.ask(
        "select delivery_id, table_name, rows_in, rows_out, rows_not_loaded, not_loaded from control.accounting where stage = 'load'"
    )
    return {(d, t): (n_in, out, left, why) for d, t, n_in, out, left, why in rows}


def test_consolidated_is_in_staging_or_left_for_a_reason(consolidated: SmallPlatform) -> None:
    assert consolidated.load()["rows"] == 1 + 1 + 2 + 1  # patient, stay, two doses, and the person of the patient map
    assert _accounts(consolidated) == {
        ("d1", "patient"): (1, 1, 0, {}),
        ("d1", "stay"): (1, 1, 0, {}),
        ("d1", "administration"): (3, 1, 2, {"not_an_antibacterial": 2}),
        ("d1", "prescription"): (1, 0, 1, {"drug_without_standard_code": 1}),
        ("d2", "administration"): (2, 1, 1, {"not_an_antibacterial": 1}),
    }
    assert consolidated.ask("select administration_id, delivery_id from staging.administration order by 1") == [
        ("A", "d1"),
        ("B", "d2"),
    ]
    # what one stage gives out is what the next one takes in
    [(out,)] = consolidated.ask("select sum(rows_out)::int from control.accounting where stage = 'consolidate'")
    [(taken,)] = consolidated.ask("select sum(rows_in)::int from control.accounting where stage = 'load'")
    assert taken == out == 8


@pytest.mark.parametrize("spoiled", ["select * from t where administration_id <> 'A'", "from t union all from t"])
def test_a_lake_file_that_is_not_what_was_accounted_for_is_not_swapped_in(
    consolidated: SmallPlatform, spoiled: str
) -> None:
    """A row lost, or there twice, after consolidation."""
    consolidated.load()
    before = consolidated.ask("select inhrelid::regclass::text from pg_inherits order by 1")
    [file] = consolidated.lake.list_files("consolidated", "administration")
    rewrite_as(Path(file), spoiled)
    consolidated.execute("delete from control.load")
    with pytest.raises(AccountingImbalance) as raised:
        consolidated.load()
    assert raised.value.table == "administration"
    assert consolidated.ask("select inhrelid::regclass::text from pg_inherits order by 1") == before
    assert consolidated.ask("select count(*) from control.load") == [(0,)]
    assert consolidated.ask("select count(*) from staging.administration") == [(2,)]


@pytest.mark.parametrize(
    "change",
    [
        {"rows_out": 2},
        {"hash_out": 11},
        {"rows_not_loaded": 2, "rows_out": 2},
        {"not_loaded": {}},
        {"not_loaded": {"not_an_antibacterial": 2}},
    ],
)
def test_the_ledger_refuses_a_load_that_does_not_balance(platform: SmallPlatform, change: dict[str, Any]) -> None:
    """Rows, sums of record numbers, and the reasons against what is not loaded."""
    right: dict[str, Any] = {
        "rows_in": 4, "rows_out": 3, "rows_not_loaded": 1, "hash_in": 10, "hash_out": 6, "hash_not_loaded": 4,
        "not_loaded": {"not_an_antibacterial": 1},
    }  # fmt: skip
    stage = begin_stage(platform.database, platform.new_run(), "load")
    with platform.database.transaction() as connection, connection.cursor() as cursor:
        write_accounts(cursor, stage, [Account("h01", "d1", "administration", **right)])
    with (
        pytest.raises(AccountingImbalance),
        platform.database.transaction() as connection,
        connection.cursor() as cursor,
    ):
        write_accounts(cursor, stage, [Account("h01", "d1", "administration", **{**right, **change})])


def test_the_report_follows_the_rows_through_all_four_stages(consolidated: SmallPlatform) -> None:
    """Of a real publication: what gate 3 counted in the models is what staging held."""
    consolidated.load()
    tasks.publish(consolidated, "publish-accounting", None)
    *_, publish = data.read(consolidated, "publish-accounting").balances
    [(stays,)] = consolidated.ask("select count(*)::int from staging.stay")
    assert (publish.stage, publish.rows_in, publish.rows_out, publish.balanced) == ("publish", stays, stays, True)
