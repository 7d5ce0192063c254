"""Hospital 38 through the platform: the MIMIC-IV demo mapped, handed in, landed, consolidated, loaded and published; every figure of its
marts against an independent count over the raw files (independent_mimic.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


# ------------------------------------------------------------------------------------------------ nothing is lost


@pytest.mark.parametrize("stage", ["land", "consolidate"])
def test_every_mapped_row_is_accounted_for(h38: Delivered, stage: str) -> None:
    rows = h38.platform.ask(
        "select table_name, rows_in, rows_out, rows_quarantined + rows_superseded + rows_unparseable from control.accounting "
        "where hospital_id = 'h38' and stage = %s",
        stage,
    )
    # 0 rejected, 0 replaced: what the mapping wrote is what stands in the lake
    assert {table: (n_in, n_out, other) for table, n_in, n_out, other in rows} == {
        table: (n, n, 0) for table, n in h38.balance.rows.items()
    }
    assert h38.receipt.rows == sum(h38.balance.rows.values())


def test_codes_without_a_standard_one_are_listed(h38: Delivered) -> None:
    unmapped = {
        system: (codes, records)
        for system, codes, records in h38.platform.ask(
            "select code_system, count(*), sum(records) from control.unmapped_code where hospital_id = 'h38' group by 1"
        )
    }
    assert h38.platform.ask(
        "select local_code, records from control.unmapped_code where hospital_id = 'h38' and code_system = 'organism'"
    ) == [("PARAINFLUENZA VIRUS TYPE 3", 1)]
    assert set(unmapped) >= {"drug", "laboratory_test", "diagnosis", "procedure"}
    assert "antimicrobial_agent" not in unmapped
    assert "specimen_nature" not in unmapped


def test_its_codes_are_not_passed_off_as_french_ones(h38: Delivered) -> None:
    systems = dict(h38.platform.ask("select diagnosis_system, count(*) from conformed.diagnosis group by 1"))
    assert systems == {"icd9cm": 2193, "icd10cm": 2313}
    assert dict(h38.platform.ask("select procedure_system, count(*) from conformed.procedure group by 1")) == {
        "icd9cm": 401,
        "icd10pcs": 321,
    }
    assert h38.one("select count(*) from conformed.diagnosis where diagnosis_code is null") == 0


# ------------------------------------------------------------------------------------------------ against the independent count


def test_admissions_specimens_and_isolates(h38: Delivered) -> None:
    counted = dict(
        h38.platform.ask("select table_name, sum(records) from marts.coverage where hospital_id = 'h38' group by 1")
    )
    assert counted["stay"] == independent.admissions(RAW) == 275
    assert counted["specimen"] == independent.specimens(RAW) == 1336
    assert counted["isolate"] == len(independent.isolates(RAW)) == 348


def test_nights(h38: Delivered) -> None:
    expected = independent.nights(RAW)
    assert h38.one("select count(*) from conformed.patient_day") == len(expected)
    # the mart's denominator holds the months of which the hospital delivered an antibacterial's administration: MIMIC charts drugs
    # electronically (emar) in some of its years only. The nights of the other months are the whole difference.
    months = {day.to_period("M") for day in independent.antibacterial_days(RAW)}
    covered = sum(day.to_period("M") in months for _, day in expected)
    published = h38.one(
        "select sum(patient_days) from marts.antibiotic_consumption "
        "where hospital_id = 'h38' and scope = 'all' and grouping = 'total'"
    )
    assert published == covered
    assert 0 < covered < len(expected)


@pytest.mark.parametrize("method", ["all", "patient", "m39", "episode_7", "episode_14", "episode_30", "episode_365"])
def test_first_isolates(h38: Delivered, method: str) -> None:
    published = h38.one(
        "select count(*) from marts.first_isolate where hospital_id = 'h38' and dedup_scope = 'hospital' and method = %s "
        "and among = 'all_isolates' and coalesce(excluded_because, 'same_draw') = 'same_draw'",  # each bottle is a row
        method,
    )
    assert published == independent.first_isolates(independent.isolates(RAW), method)


def test_what_is_no_isolate_to_count_is_kept_apart(h38: Delivered) -> None:
    found = independent.isolates(RAW)
    statement, unknown = found["org_name"].isin(independent.STATEMENTS), found["org_name"].isin(independent.UNKNOWN)
    apart = dict(
        h38.platform.ask(
            "select excluded_because, count(*) from marts.first_isolate "
            "where method = 'all' and dedup_scope = 'hospital' and among = 'all_isolates' and excluded_because is not null "
            "and excluded_because <> 'same_draw' group by 1"
        )
    )
    assert apart == {
        "non_organism": int(statement.sum()),
        "unmapped_organism": int(unknown.sum()),
        "screening": int((found["screening"] & ~statement & ~unknown).sum()),
    }


@pytest.mark.parametrize("pair", independent.PAIRS)
def test_tested_and_resistant(h38: Delivered, pair: tuple[str, str]) -> None:
    [published] = h38.platform.ask(
        "select sum(tested), sum(resistant) from marts.cumulative_antibiogram where hospital_id = 'h38' and method = 'm39' "
        "and among = 'all_isolates' and breakpoint_indication = 'general' "
        "and dedup_scope = 'hospital' and specimen_nature = 'all' and species = %s and agent_code = %s",
        STANDARD[pair[0]],
        STANDARD[pair[1]],
    )
    assert published == independent.tested_and_resistant(RAW, *pair)


@pytest.mark.parametrize("atc", independent.DRUGS)
def test_days_of_therapy(h38: Delivered, atc: str) -> None:
    published = h38.one(
        "select sum(days_of_therapy) from marts.antibiotic_consumption "
        "where hospital_id = 'h38' and scope = 'all' and grouping = 'atc' and item = %s",
        atc,
    )
    assert published == independent.days_of_therapy(RAW, atc)


def test_its_interpretations_stay_those_of_clsi(h38: Delivered) -> None:
    assert h38.platform.ask("select distinct guideline from conformed.susceptibility") == [("clsi",)]
    assert h38.one("select count(*) from conformed.isolate_result where interpretation = 'increased_exposure'") == 0
    assert h38.one("select count(*) from conformed.isolate_result where interpretation = 'intermediate'") == 28


# ------------------------------------------------------------------------------------------------ a shifted calendar


def test_rules_that_need_real_dates_do_not_apply_and_say_so(h38: Delivered) -> None:
    found = dict(
        h38.platform.ask(
            "select rule_id, status from quality.result where hospital_id = 'h38' and rule_id like 'coverage.volume.%%'"
        )
    )
    assert found == {"coverage.volume.zero": "not_applicable", "coverage.volume.usual": "not_applicable"}


@pytest.mark.parametrize(
    "nothing",
    [
        "select count(*) from marts.antibiotic_consumption where hospital_id = 'group'",
        "select count(*) from marts.cumulative_antibiogram where hospital_id = 'group' or dedup_scope = 'group'",
        "select count(*) from marts.first_isolate where dedup_scope = 'group'",
        "select count(*) from marts.coverage where in_group or expected_median is not null",
        "select count(*) from conformed.merged_stay where scope = 'group'",
        "select count(*) from conformed.exposure_day",
        "select count(*) from conformed.index_exposure",
        "select sum(index_isolates) from marts.exposure_resistance",
    ],
)
def test_it_enters_no_group_total_median_or_exposure(h38: Delivered, nothing: str) -> None:
    assert h38.one(nothing) == 0
