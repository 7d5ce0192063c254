"""Patient identifiers whose records cannot be one person's: used for whoever has none, they name nobody in particular (docs/domain/isolates.md).

Known by what a hospital's records hold together, where landing knows such identifiers by their words (``kernel.identity``). How much an
identifier has is no sign: five cultures in five days are one patient in intensive care as well (docs/decisions/0018-*.md).
"""

from __future__ import annotations

from collections.abc import Collection

import duckdb

from estuaire.contract.registry import Hospital, OnePerson
from estuaire.contract.tables import Table

FLAG = "not_one_person"  # <table>.patient_id.not_one_person
_NAMING_A_STAY = ("specimen", "prescription", "administration", "lab_result")


def flag_sql(table: Table, patient: str) -> tuple[str, str]:
    """SQL of the flag of a table's records, and its join; see ``find``.

    Args:
        patient: SQL of the patient id that a record bears after merges.
    """
    flag = f"case when nobody.patient_id is not null then '{table.name}.patient_id.{FLAG}' end"
    return flag, f" left join not_one_person as nobody on nobody.patient_id = {patient}"


def find(
    connection: duckdb.DuckDBPyConnection, hospital: Hospital, delivered: Collection[str], full: tuple[str, str]
) -> None:
    """Temporary table ``not_one_person`` (patient_id): identifiers, merges applied, that break one of the hospital's limits.

    Reads the views ``landed_<table>`` and the temporary tables ``version_<table>`` and ``survivor`` of the consolidation.

    Args:
        delivered: tables that the hospital delivered.
        full: SQL condition of a landed stay in full hospitalisation, and its joins.
    """
    limits = hospital.one_person
    signs: list[str] = []
    if "patient" in delivered:
        signs.append(_births(limits, shifted=hospital.calendar == "shifted"))
        signs += [
            _too_old(limits, table, moment)
            for table, moment in (("specimen", "collected_at_local"), ("stay", "admitted_at_local"))
            if table in delivered
        ]
    if "stay" in delivered:
        signs.append(_stays_at_once(limits, *full))
        signs += [_stays_of_others(limits, table) for table in _NAMING_A_STAY if table in delivered]
    if "specimen" in delivered:
        signs += _specimens(limits)
    connection.execute(
        "create or replace temp table not_one_person as select distinct patient_id from ("
        + (" union all ".join(signs) or "select null::varchar as patient_id where false")
        + ")"
    )


def _current(table: str, columns: str, joins: str = "", where: str = "true") -> str:
    """SQL: current records of a table, with the patient id that they bear after merges."""
    return (
        f"(select coalesce(survivor.new_id, landed.patient_id) as patient_id, {columns} from landed_{table} as landed "
        f"join version_{table} as version on version.row_uid_hi = landed.row_uid_hi and version.row_uid_lo = landed.row_uid_lo "
        f"and version.state = 'current' left join survivor on survivor.old_id = landed.patient_id{joins} where {where})"
    )


def _stays_at_once(limits: OnePerson, full: str, joins: str) -> str:
    """Full stays open at the same moment, each with the discharge that its hospital wrote; the same stay under two numbers is one."""
    stays = _current(
        "stay",
        "landed.admitted_at, landed.discharged_at",
        joins,
        f"{full} and landed.discharged_at > landed.admitted_at",
    )
    return (
        f"(with own as (select distinct * from {stays}), "
        "step as (select patient_id, admitted_at as moment, 1 as change from own union all select patient_id, discharged_at, -1 from own), "
        # one that ends at the moment at which another begins was before it
        "open as (select patient_id, sum(change) over (partition by patient_id order by moment, change rows unbounded preceding) as stays from step) "
        f"select patient_id from open where stays > {limits.stays_at_once})"
    )


def _stays_of_others(limits: OnePerson, table: str) -> str:
    """Records that name the stays of other patients, of so many of them that it is no slip."""
    records = _current(table, "landed.stay_id", where="landed.stay_id is not null")
    stays = _current("stay", "landed.stay_id")
    return (
        f"select record.patient_id from {records} as record join {stays} as stay on stay.stay_id = record.stay_id "
        f"and stay.patient_id <> record.patient_id group by record.patient_id having count(distinct stay.patient_id) > {limits.patients_of_stays}"
    )


def _births(limits: OnePerson, *, shifted: bool) -> str:
    """Years of birth that the versions of the patient's record had; a provisional one, of nobody alive, is none."""
    alive = (
        "true" if shifted else f"coalesce(birth_date >= latest_day - interval {limits.years_of_age + 1} years, true)"
    )
    return (
        f"select coalesce(any_value(survivor.new_id), patient_id) as patient_id from landed_patient left join survivor on old_id = patient_id "
        f"where op = 'upsert' and {alive} group by patient_id having count(distinct year(birth_date)) > {limits.birth_years}"
    )


def _too_old(limits: OnePerson, table: str, moment: str) -> str:
    """Records of a time at which nobody so born is alive: the birth of a provisional identity."""
    records = _current(table, f"landed.{moment} as moment")
    born = _current("patient", "landed.birth_date")
    return (
        f"select record.patient_id from {records} as record join {born} as born using (patient_id) "
        f"group by record.patient_id having max(record.moment) >= min(born.birth_date) + interval {limits.years_of_age + 1} years"
    )


def _specimens(limits: OnePerson) -> list[str]:
    """Specimens of one moment from several units, of one day from more units than a patient passes, or more than are taken in a day."""
    taken = _current(
        "specimen",
        "landed.collected_at_local as moment, landed.unit_code",
        where="landed.collected_at_local is not null",
    )
    return [
        # midnight is a date without a time: one day, not one moment
        f"select patient_id from {taken} where moment <> date_trunc('day', moment) group by patient_id, moment "
        f"having count(distinct unit_code) > {limits.units_at_once}",
        f"select patient_id from {taken} group by patient_id, moment::date "
        f"having count(distinct unit_code) > {limits.units_a_day} or count(*) > {limits.specimens_a_day}",
    ]
