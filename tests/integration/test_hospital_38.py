"""Hospital 38 through the platform: the MIMIC-IV demo mapped, handed in, landed, consolidated, loaded and published; every figure of its
marts against an independent count over the raw files (independent_mimic.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import independent_mimic as independent
import pytest
from small_platform import Platform

from estuaire.handing_in import Asked, Receipt, hand_in, prepare
from estuaire.publish import PublishOutcome
from estuaire.registry import load_registry
from estuaire.settings import settings
from examples.mimic_iv_demo.mapping import Balance, map_warehouse

RAW = settings().real_data_path
pytestmark = pytest.mark.skipif(not (RAW / "hosp").is_dir(), reason="real data absent")

STANDARD = {
    "ESCHERICHIA COLI": "B_ESCHR_COLI",
    "KLEBSIELLA PNEUMONIAE": "B_KLBSL_PNMN",
    "STAPH AUREUS COAG +": "B_STPHY_AURS",
    "PSEUDOMONAS AERUGINOSA": "B_PSDMN_AERG",
    "CIPROFLOXACIN": "CIP",
    "CEFTRIAXONE": "CRO",
    "GENTAMICIN": "GEN",
    "OXACILLIN": "OXA",
    "MEROPENEM": "MEM",
}


@dataclass(frozen=True)
class Delivered:
    """What the stages said of hospital 38."""

    platform: Platform
    balance: Balance
    receipt: Receipt
    landed: dict[str, int]
    consolidated: dict[str, Any]
    loaded: dict[str, Any]
    published: PublishOutcome

    def one(self, sql: str, *parameters: object) -> Any:
        [[value]] = self.platform.ask(sql, *parameters)
        return value


@pytest.fixture(scope="module")
def h38(new_platform: Callable[[], Platform], tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    """The whole of hospital 38, alone on a platform."""
    platform = new_platform()
    folder = tmp_path_factory.mktemp("mimic") / "delivery"
    balance = map_warehouse(RAW, folder)
    asked = Asked(kind="full", period=balance.period)
    receipt = hand_in(prepare(folder, "h38", load_registry(), platform.store, asked), platform.store)
    landed, consolidated, loaded = platform.land(), platform.consolidate(), platform.load()
    return Delivered(platform, balance, receipt, landed, consolidated, loaded, platform.publish())


def test_every_mapped_row_is_accounted_for_at_every_stage(h38: Delivered) -> None:
    assert h38.receipt.rows == sum(h38.balance.rows.values())
    rows = h38.platform.ask(
        "select stage, table_name, sum(rows_in), sum(rows_out), sum(rows_quarantined), sum(rows_superseded), sum(rows_unparseable) "
        "from control.accounting where hospital_id = 'h38' group by 1, 2 order by 1, 2"
    )
    print(rows)
    print(h38.platform.ask("select stage, rule_id, status, rows_checked, rows_failed, hospital_id from quality.result where status <> 'pass'"))
