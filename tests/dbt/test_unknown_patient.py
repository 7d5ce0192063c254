"""Identifiers that name nobody in particular: no person's first isolate, exposure or observed time; their doses and nights stay counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import exposure_world
import pytest
import staging_world
from psycopg2.extensions import connection

from estuaire.base.settings import Settings
from estuaire.warehouse import dbt_build

WHERE = "h11"
SHARED = tuple(f"p{n}" for n in range(0, 160, 4))  # each a person whom the other hospitals know, too
NAMING = ("patient", "stay", "administration", "specimen")
Rows = set[tuple[Any, ...]]


@dataclass
class Built:
    """Figures of a candidate."""

    consumption: Rows
    nights: Rows
    index: Rows
    exposed: dict[tuple[str, str], int]
    observed: Rows
    first: Rows


def build(session: connection, settings: Settings) -> Built:
    dbt_build.run(
        settings,
        [
            "build", "--select", "+exposure_resistance", "+first_isolate", "+antibiotic_consumption", "+antibiotic_consumption_year",
            "--indirect-selection=cautious", "--exclude-resource-type=unit_test",
        ],
        log=settings.logs / "unknown.log",
    )  # fmt: skip

    def rows(query: str) -> Rows:
        with session.cursor() as cur:
            cur.execute(query)
            return set(cur.fetchall())

    measures = "scope, grouping, item, patient_days, ddd, days_of_therapy, length_of_therapy, doses, doses_unmapped"
    return Built(
        rows(
            f"select hospital_id, month::text, {measures} from marts_next.antibiotic_consumption union all "
            f"select hospital_id, year::text || unit_type, {measures} from marts_next.antibiotic_consumption_year"
        ),
        rows("select hospital_id, patient_key, night from conformed_next.patient_day"),
        rows("select patient_key, hospital_id, specimen_key from conformed_next.index_isolate"),
        {
            (r[0], str(r[1])): r[2]
            for r in rows("select patient_key, given_on, sum(doses) from conformed_next.exposure_day group by 1, 2")
        },
        rows("select patient_key, day from conformed_next.observed_day"),
        rows(
            "select method, dedup_scope, among, hospital_id, specimen_key, isolate_key, excluded_because from marts_next.first_isolate"
        ),
    )


@dataclass
class Both:
    before: Built
    after: Built
    specimens: set[str]  # of the identifiers that name nobody


@pytest.fixture(scope="module")
def both(warehouse: connection, warehouse_settings: Settings) -> Both:
    """A world as it is, and once the records of ``SHARED`` in one hospital are flagged as consolidation flags them."""
    with warehouse.cursor() as cur:
        staging_world.load(cur, exposure_world.draw(20260302))
        before = build(warehouse, warehouse_settings)
        cur.execute(
            "select specimen_key from conformed_next.specimen as s where hospital_id = %s and exists (select from staging.specimen t "
            "where t.hospital_id = s.hospital_id and md5(t.hospital_id || '|' || t.specimen_id) = s.specimen_key and t.patient_id = any(%s))",
            (WHERE, list(SHARED)),
        )
        specimens = {key for (key,) in cur.fetchall()}
        for table in NAMING:
            cur.execute(
                f"update staging.{table} set flags = concat_ws(',', flags, '{table}.patient_id.not_one_person') "
                "where hospital_id = %s and patient_id = any(%s)",
                (WHERE, list(SHARED)),
            )
            assert cur.rowcount > 20
    return Both(before, build(warehouse, warehouse_settings), specimens)


def test_their_doses_and_nights_stay_in_every_rate(both: Both) -> None:
    assert both.after.consumption == both.before.consumption
    assert both.after.nights == both.before.nights
    assert len(both.after.nights) > 100


def test_of_their_isolates_only_method_all_has_any(both: Both) -> None:
    def of_theirs(built: Built) -> Rows:
        return {r for r in built.first if r[4] in both.specimens}

    assert {r[0] for r in of_theirs(both.before)} > {"all", "m39", "patient"}
    assert {r[0] for r in of_theirs(both.after)} == {"all"}
    assert {r[:6] for r in of_theirs(both.after)} == {r[:6] for r in of_theirs(both.before) if r[0] == "all"}
    assert "unknown_patient" in {r[6] for r in of_theirs(both.after)}
    # those of others, by hospital, are as they were
    assert {r for r in both.after.first if r[1] == "hospital"} - of_theirs(both.after) == {
        r for r in both.before.first if r[1] == "hospital"
    } - of_theirs(both.before)


def test_they_are_no_person_s_exposure_nor_observed_time(both: Both) -> None:
    persons = {f"person-{who.removeprefix('p')}" for who in SHARED}
    assert {r for r in both.before.index if r[2] in both.specimens}
    assert not {r for r in both.after.index if r[2] in both.specimens}
    assert {r for r in both.after.index if r[0] not in persons} == {r for r in both.before.index if r[0] not in persons}
    # a person known elsewhere keeps what other hospitals saw, and has nothing of the identifier's
    assert {k: n for k, n in both.after.exposed.items() if k[0] not in persons} == {
        k: n for k, n in both.before.exposed.items() if k[0] not in persons
    }
    mine = {k: n for k, n in both.after.exposed.items() if k[0] in persons}
    assert 0 < sum(mine.values()) < sum(n for k, n in both.before.exposed.items() if k[0] in persons)
    known = {r[0] for r in both.after.index}
    observed = {r for r in both.after.observed if r[0] in persons}
    assert observed < {r for r in both.before.observed if r[0] in persons}
    assert {r for r in both.after.observed if r[0] not in persons} == {
        r for r in both.before.observed if r[0] not in persons and r[0] in known
    }
