"""Hospital 38 through the platform: the MIMIC-IV demo mapped, handed in, landed, consolidated, loaded and published; every figure of its
marts against an independent count over the raw files (independent_mimic.py)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import independent_mimic as independent
import independent_mimic_doses as given
import pytest
from published import ROW_KEYS, copied
from small_platform import SmallPlatform

from estuaire.base.settings import settings
from estuaire.contract.registry import load_registry
from estuaire.deliveries.hand_in import Asked, Receipt, hand_in, prepare
from estuaire.storage import pseudonym_key
from estuaire.warehouse.publish import PublishOutcome
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


# DDD per 1,000 patient-days of the covered months, by scope
RATES = {"esac": 577.8, "spares": 605.1, "all": 729.4}


@dataclass(frozen=True)
class Delivered:
    """What the stages said of hospital 38."""

    platform: SmallPlatform
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
def h38(new_platform: Callable[[], SmallPlatform], tmp_path_factory: pytest.TempPathFactory) -> Delivered:
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
    assert h38.one("select count(*) from conformed.patient_day") == len(independent.nights(RAW))


# ------------------------------------------------------------------------------------------------ consumption, dose by dose


def test_the_recount_knows_every_antibacterial_and_where_each_figure_comes_from() -> None:
    """Choice by choice, over all months: the whole of every dose that was given, then those of a moment inside an admission."""
    assert given.unknown_names(RAW) == set()
    everything = given.events(RAW)
    everything = everything[everything["drug"].isin(given.DRUGS)]
    counted = [given.read(*row) for row in everything[["drug", "route", "dose", "unit"]].itertuples(index=False)]
    by_drug = {
        atc: round(sum(ddd for code, ddd, _ in counted if code == atc), 2) for atc in ("J01CR01", "J01CR05", "J01EE01")
    }
    # before, as if the product were the substance: 22.00 and 45.32; of cotrimoxazole, charted in tablets, millilitres and mg: none
    assert by_drug == {"J01CR01": 14.67, "J01CR05": 40.29, "J01EE01": 37.12}
    inside = given.doses(RAW, any_month=True)
    # two bags of 2.25 g were given after the discharge of the stay that their records name: a dose counts by its time
    assert round(inside[inside["atc"] == "J01CR05"]["ddd"].sum(), 2) == 40.0
    assert dict(inside["without"].value_counts()) == {"": 1780, "no_route": 23, "no_amount": 2}


def test_months_covered(h38: Delivered) -> None:
    """Administrations of any drug on at least half of the days with patients: neither an antibacterial nor one record decides."""
    published = h38.platform.ask(
        "select month, patient_days from marts.antibiotic_consumption where hospital_id = 'h38' and scope = 'all' "
        "and grouping = 'total' and covered and patient_days > 0"
    )
    assert {f"{month:%Y-%m}" for month, _ in published} == {str(month) for month in given.covered_months(RAW)}
    assert len(published) == 146  # 201 months hold a record, 123 an antibacterial
    assert sum(days for _, days in published) == given.patient_days(RAW) == 1081


def test_doses_and_defined_daily_doses_by_drug(h38: Delivered) -> None:
    published = {
        atc: (doses, without, float(ddd))
        for atc, doses, without, ddd in h38.platform.ask(
            "select item, sum(doses), sum(doses_without_ddd), sum(ddd) from marts.antibiotic_consumption "
            "where hospital_id = 'h38' and scope = 'all' and grouping = 'atc' and covered group by item"
        )
    }
    expected = {
        atc: (len(own), int((own["without"] != "").sum()), own["ddd"].sum())
        for atc, own in given.doses(RAW).groupby("atc")
    }
    assert {atc: n[:2] for atc, n in published.items()} == {atc: n[:2] for atc, n in expected.items()}
    # the mart rounds to 4 decimals per month and class
    assert {atc: n[2] for atc, n in published.items()} == pytest.approx(
        {atc: n[2] for atc, n in expected.items()}, abs=0.02
    )


def test_doses_by_route(h38: Delivered) -> None:
    [[by_mouth, injected, neither]] = h38.platform.ask(
        "select sum(oral_doses), sum(parenteral_doses), sum(doses - oral_doses - parenteral_doses) from conformed.antibiotic_day"
    )
    found = {route: int(n) for route, n in given.doses(RAW, any_month=True)["route"].value_counts().items()}
    assert {"oral": int(by_mouth), "injected": int(injected), "": int(neither)} == found
    assert found == {"oral": 644, "injected": 1136, "": 25}


def test_rate_and_length_of_therapy(h38: Delivered) -> None:
    recount = given.doses(RAW)
    for scope, codes in (("esac", "J01"), ("spares", "J01|P01AB|J04AB02|A07AA12"), ("all", "")):
        own = recount[recount["atc"].str.match(codes)]
        [[ddd, dot, lot]] = h38.platform.ask(
            "select sum(ddd), sum(days_of_therapy), sum(length_of_therapy) from marts.antibiotic_consumption "
            "where hospital_id = 'h38' and scope = %s and grouping = 'total' and covered",
            scope,
        )
        assert float(ddd) == pytest.approx(own["ddd"].sum(), abs=0.05), scope
        assert dot == len(own.drop_duplicates(["atc", "subject_id", "day"])), scope
        assert lot == len(own.drop_duplicates(["subject_id", "day"])), scope
        assert 1000 * float(ddd) / given.patient_days(RAW) == pytest.approx(RATES[scope], abs=0.1), scope


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


@pytest.mark.parametrize("atc", ["J01XA01", "J01CR05", "J01DD04", "J01DE01", "J01MA02"])
def test_days_of_therapy(h38: Delivered, atc: str) -> None:
    published = h38.one(
        "select sum(days_of_therapy) from marts.antibiotic_consumption "
        "where hospital_id = 'h38' and scope = 'all' and grouping = 'atc' and item = %s",
        atc,
    )
    own = given.doses(RAW)
    assert published == len(own[own["atc"] == atc].drop_duplicates(["subject_id", "day"]))


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


# ------------------------------------------------------------------------------------------------ another key


def test_another_pseudonym_key_publishes_the_same_marts(
    h38: Delivered, new_platform: Callable[[], SmallPlatform], tmp_path: Path
) -> None:
    """From the same files, through landing: what is published never depends on a pseudonym. Keys of rows are pseudonyms themselves."""
    other = new_platform()
    secrets = tmp_path / "secrets"
    shutil.copytree(other.settings.secrets_path, secrets)
    (secrets / "pseudonym_key").write_text(
        "another key of the tests, as long as a drawn one is: 01234567890\n", encoding="utf-8"
    )
    other = other.but(secrets_dir=secrets)
    other.execute("delete from control.pseudonym_key")  # an installation of its own, whose first key this is
    pseudonym_key.ensure(other)
    other.copy_delivery(h38.platform.settings.store_path, "h38", h38.receipt.manifest.delivery_id)
    other.land(), other.consolidate(), other.load()
    assert other.publish().state == "published"
    keys = [{k for (k,) in p.ask("select patient_key from conformed.patient")} for p in (h38.platform, other)]
    assert keys[0]
    assert not keys[0] & keys[1]  # it was another key
    first, second = (
        {t: c for t, c in copied(p.settings, ROW_KEYS).items() if t.startswith("marts.")} for p in (h38.platform, other)
    )
    assert set(first) == set(second)
    assert len(first) > 5
    assert [t for t in first if first[t] != second[t]] == []
