"""The end of a stay (docs/domain/stays.md): the earliest of discharge, death, the next admission, and the end of what was delivered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from one_file import Landed, land, lines, pseudonym

from estuaire.contract.registry import Hospital, load_registry
from estuaire.contract.tables import load_contract
from estuaire.kernel.consolidate import HospitalInput, consolidate_hospital, stays_until

PATIENT = "patient_id;birth_date;sex;death_date"
STAY = "stay_id;patient_id;previous_stay_id;admitted_at;discharged_at;stay_type"
MERGE = "old_patient_id;new_patient_id;merged_at"
UNTIL = datetime(2024, 6, 30, 22, tzinfo=UTC)  # midnight of 1 July in Paris
Stays = dict[str, dict[str, Any]]


def entry(calendar: str = "real") -> Hospital:
    """A hospital that writes the contract's own names and codes."""
    names = load_contract().names
    own = replace(
        load_registry().get("h01"), table_dialect=dict.fromkeys(names, "main"), table_columns={}, code_maps={}
    )
    return replace(own, calendar=calendar)


@dataclass
class World:
    folder: Path

    def stays(
        self, *stays: str, patients: tuple[str, ...] = ("1;01/02/1955;female;",), merges: tuple[str, ...] = (),
        until: datetime | None = UNTIL, calendar: str = "real",
    ) -> Stays:  # fmt: skip
        """Current stays by their number in the test, as consolidation writes them."""
        files = {}
        for table, header, records in (
            ("patient", PATIENT, patients),
            ("patient_merge", MERGE, merges),
            ("stay", STAY, stays),
        ):
            if records:
                landed = land(self.folder, table, lines(header, *records), hospital=entry(calendar))
                assert not landed.rejects
                files[table] = [str(landed.outcome.output)]
        outcomes = consolidate_hospital(
            HospitalInput(entry(calendar), files, stays_until=until),
            load_contract(),
            lambda t: self.folder / f"out-{t}.parquet",
        )
        [output] = [o.output for o in outcomes if o.table == "stay"]
        numbers = {pseudonym("stay", "stay_id", s.split(";")[0]): s.split(";")[0] for s in stays}
        return {numbers[r["stay_id"]]: r for r in pq.ParquetFile(output).read().to_pylist()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def nights(stays: Stays) -> int:
    return sum((s["ended_at_local"].date() - s["admitted_at_local"].date()).days for s in stays.values())


def test_a_closed_stay_ends_at_its_discharge(world: World) -> None:
    stays = world.stays("a;1;;01/01/2024 22:00;04/01/2024 09:00;full")
    assert stays["a"]["ended_at"] == datetime(2024, 1, 4, 8, tzinfo=UTC)
    assert stays["a"]["ended_at_local"] == datetime(2024, 1, 4, 9)
    assert nights(stays) == 3


def test_dead_on_3_january_and_left_open_is_two_nights(world: World) -> None:
    stays = world.stays("a;1;;01/01/2024 10:00;;full", patients=("1;01/02/1955;female;03/01/2024",))
    assert nights(stays) == 2
    assert stays["a"]["ended_at_local"] == datetime(2024, 1, 3, 23, 59, 59)
    assert stays["a"]["ended_at"] == datetime(2024, 1, 3, 22, 59, 59, tzinfo=UTC)


def test_a_discharge_after_the_death_does_not_prolong_the_stay(world: World) -> None:
    dead = ("1;01/02/1955;female;03/01/2024",)
    assert nights(world.stays("a;1;;01/01/2024 10:00;20/01/2024 10:00;full", patients=dead)) == 2
    stays = world.stays("a;1;;01/01/2024 10:00;03/01/2024 14:00;full", patients=dead)
    assert stays["a"]["ended_at_local"] == datetime(2024, 1, 3, 14)


def test_never_closed_and_readmitted_on_10_february_ends_then(world: World) -> None:
    stays = world.stays("a;1;;01/02/2024 10:00;;full", "b;1;;10/02/2024 09:00;15/02/2024 10:00;full")
    assert stays["a"]["ended_at_local"] == datetime(2024, 2, 10, 9)
    assert nights(stays) == 14
    assert {s["whole_stay_id"] for s in stays.values()} == {stays["a"]["stay_id"]}  # no gap between them


def test_only_full_hospitalisation_of_the_same_patient_ends_an_open_stay(world: World) -> None:
    patients = ("1;01/02/1955;female;", "2;01/02/1955;female;")
    stays = world.stays(
        "a;1;;01/02/2024 10:00;;full", "b;1;;05/02/2024 09:00;05/02/2024 17:00;session",
        "c;2;;06/02/2024 09:00;07/02/2024 10:00;full", patients=patients,
    )  # fmt: skip
    assert stays["a"]["ended_at"] == UNTIL


def test_a_closed_stay_is_not_cut_by_one_inside_it(world: World) -> None:
    stays = world.stays("a;1;;01/03/2024 10:00;20/03/2024 09:00;full", "b;1;;02/03/2024 11:00;03/03/2024 10:00;full")
    assert stays["a"]["ended_at_local"] == datetime(2024, 3, 20, 9)


def test_death_and_readmission_are_those_of_the_merged_patient(world: World) -> None:
    two = ("1;01/02/1955;female;", "2;01/02/1955;female;03/01/2024")
    merge = ("1;2;01/05/2024 00:00",)
    assert nights(world.stays("a;1;;01/01/2024 10:00;;full", patients=two, merges=merge)) == 2
    alive = ("1;01/02/1955;female;", "2;01/02/1955;female;")
    stays = world.stays(
        "a;1;;01/02/2024 10:00;;full", "b;2;;10/02/2024 09:00;15/02/2024 10:00;full", patients=alive, merges=merge
    )
    assert stays["a"]["ended_at_local"] == datetime(2024, 2, 10, 9)


def test_an_open_stay_ends_with_what_was_delivered_and_one_admitted_later_has_no_night(world: World) -> None:
    stays = world.stays("a;1;;25/06/2024 10:00;;full", "b;1;;02/07/2024 10:00;05/07/2024 10:00;full")
    assert (stays["a"]["ended_at"], stays["a"]["ended_at_local"]) == (UNTIL, datetime(2024, 7, 1))
    assert stays["b"]["ended_at"] == stays["b"]["admitted_at"]
    assert nights(stays) == 6


def test_a_stay_above_365_days_is_listed(world: World) -> None:
    stays = world.stays(
        "a;1;;01/06/2023 10:00;;full", "b;1;;30/06/2023 10:00;29/06/2024 10:00;full",
        patients=("1;01/02/1955;female;",), until=UNTIL,
    )  # fmt: skip
    assert (stays["a"]["flags"], stays["b"]["flags"]) == (None, None)
    stays = world.stays("a;1;;01/06/2023 10:00;;full")
    assert stays["a"]["flags"] == "stay.length.above_365_days"


def test_where_nothing_says_when_it_ended_the_stay_ends_at_its_admission_and_is_flagged(world: World) -> None:
    """A shifted calendar has no end of what was delivered: each patient's dates are moved on their own."""
    stays = world.stays("a;1;;01/06/2050 10:00;;full", until=None, calendar="shifted")
    assert (stays["a"]["ended_at"], stays["a"]["flags"]) == (stays["a"]["admitted_at"], "stay.end.unknown")


def test_stays_are_told_until_the_delivery_that_reaches_furthest() -> None:
    def at(month: int) -> datetime:
        return datetime(2024, month, 5, 3, tzinfo=UTC)

    told = [(date(2024, 3, 1), at(3)), (date(2024, 7, 1), at(7)), (date(2023, 1, 1), at(9))]
    assert stays_until(entry(), told) == UNTIL
    assert stays_until(entry(), reversed(told)) == UNTIL
    assert stays_until(entry(), [(date(2024, 12, 31), at(7))]) == at(7)  # nothing is known after the extraction
    assert stays_until(entry(), []) is None
    assert stays_until(entry("shifted"), told) is None


# ------------------------------------------------------------------------------------------------ dates after the extraction

# `land` extracts on 1 November 2025 at 01:00 in Paris: a day later is the last moment that an event may bear.
LATEST = "02/11/2025 01:00"


@pytest.fixture
def landed(tmp_path: Path) -> Callable[..., Landed]:
    def deliver(table: str, header: str, *records: str, calendar: str = "real") -> Landed:
        return land(tmp_path, table, lines(header, *records), hospital=entry(calendar))

    return deliver


def test_ten_stays_of_nine_nights_one_discharge_typed_2034_are_never_300_patient_days(
    world: World, tmp_path: Path
) -> None:
    typed = [f"s{n};{n};;01/06/2024 10:00;10/06/{'2034' if n == 9 else '2024'} 09:00;full" for n in range(10)]
    found = land(tmp_path, "stay", lines(STAY, *typed), hospital=entry())
    assert found.broken == [(11, "stay.discharged_at.future")]
    assert found.outcome.rows_in == found.outcome.rows_out + found.outcome.rows_quarantined == 10
    assert found.outcome.checks["stay.discharged_at.future"] == [10, 1, 0]
    ends = consolidate_hospital(
        HospitalInput(entry(), {"stay": [str(found.outcome.output)]}, stays_until=UNTIL), load_contract(), lambda t: tmp_path / f"o-{t}"
    )  # fmt: skip
    stays = {r["stay_id"]: r for r in pq.ParquetFile(str(ends[0].output)).read().to_pylist()}
    assert nights(stays) == 81


def test_an_event_may_be_a_day_after_the_extraction_and_no_more(landed: Callable[..., Landed]) -> None:
    header = "administration_id;patient_id;drug_code;given_at;status"
    found = landed(
        "administration", header, f"a;1;J01DD04;{LATEST};given", "b;1;J01DD04;02/11/2025 01:01;given", "c;1;J01DD04;01/01/2034 00:00;given"
    )  # fmt: skip
    assert found.broken == [(3, "administration.given_at.future"), (4, "administration.given_at.future")]


@pytest.mark.parametrize(
    ("table", "header", "record", "rule"),
    [
        ("patient", PATIENT, "1;01/02/1955;female;31/12/9999", "patient.death_date.future"),
        ("patient", PATIENT, "1;03/11/2025;female;", "patient.birth_date.range"),
        ("patient_merge", MERGE, "1;2;01/01/2034 00:00", "patient_merge.merged_at.future"),
        ("stay", STAY, "a;1;;01/01/2034 00:00;;full", "stay.admitted_at.future"),
        ("movement", "stay_id;rank;unit_code;entered_at;left_at", "a;1;u;01/01/2024 00:00;01/01/2034 00:00", "movement.left_at.future"),
        ("procedure", "stay_id;rank;procedure_code;performed_at", "a;1;ZBQK002;01/01/2034 00:00", "procedure.performed_at.future"),
        ("prescription", "prescription_id;patient_id;drug_code;started_at;status", "a;1;J01DD04;01/01/2034 00:00;active", "prescription.started_at.future"),
        ("specimen", "specimen_id;patient_id;nature;purpose;collected_at;validated_at", "a;1;blood;diagnostic;01/01/2024 00:00;01/01/2034 00:00", "specimen.validated_at.future"),
        ("lab_result", "lab_result_id;patient_id;test_code;collected_at;status", "a;1;2160-0;01/01/2034 00:00;final", "lab_result.collected_at.future"),
    ],
)  # fmt: skip
def test_whatever_its_column(landed: Callable[..., Landed], table: str, header: str, record: str, rule: str) -> None:
    assert landed(table, header, record).broken == [(2, rule)]


def test_planned_ends_may_lie_ahead(landed: Callable[..., Landed]) -> None:
    prescription = "prescription_id;patient_id;drug_code;started_at;ended_at;status"
    assert landed("prescription", prescription, "a;1;J01DD04;30/10/2025 00:00;01/02/2026 00:00;active").rejects == []
    assert landed("unit", "unit_code;valid_from;valid_to;unit_type", "u;01/01/2026;31/12/2030;icu").rejects == []


def test_a_shifted_calendar_has_no_future(landed: Callable[..., Landed]) -> None:
    assert landed("stay", STAY, "a;1;;01/01/2134 00:00;05/01/2134 00:00;full", calendar="shifted").rejects == []


def test_every_date_of_the_contract_has_the_rule_but_planned_ones() -> None:
    planned = {f"{t.name}.{c.name}" for t in load_contract().tables for c in t.columns if c.may_be_planned}
    assert planned == {"prescription.ended_at", "unit.valid_from", "unit.valid_to"}


def test_a_quarantined_correction_leaves_the_last_valid_discharge_in_force(tmp_path: Path) -> None:
    first = land(tmp_path, "stay", lines(STAY, "a;1;;01/06/2024 10:00;10/06/2024 09:00;full"), hospital=entry())
    second = land(
        tmp_path, "stay", lines(STAY, "a;1;;01/06/2024 10:00;10/06/2034 09:00;full"), hospital=entry(), delivery="d2", sequence=2, kind="delta"
    )  # fmt: skip
    assert second.outcome.rows_out == 0
    assert second.rejects[0]["business_key"] == pseudonym("stay", "stay_id", "a")
    assert first.rows[0]["discharged_at_local"] == datetime(2024, 6, 10, 9)
