"""Patient identifiers whose records cannot be one person's: used for whoever has none, they name nobody in particular (docs/domain/isolates.md).

Known by what a hospital's records hold together, where landing knows such identifiers by their words (``kernel.identity``). How much an
identifier has is no sign: five cultures in five days are one patient in intensive care as well (docs/decisions/0018-*.md).
"""

from __future__ import annotations

from collections.abc import Collection

import duckdb

from estuaire.base.sql import Statements
from estuaire.contract.registry import Hospital

FLAG = "not_one_person"  # <table>.patient_id.not_one_person
_NAMING_A_STAY = ("specimen", "prescription", "administration", "lab_result")
_DATED = (("specimen", "collected_at_local"), ("stay", "admitted_at_local"))


def find(
    connection: duckdb.DuckDBPyConnection,
    statements: Statements,
    hospital: Hospital,
    delivered: Collection[str],
    stay_codes: Collection[str],
) -> None:
    """Temporary table ``not_one_person`` (patient_id): identifiers, merges applied, that break one of the hospital's limits.

    Reads the views ``landed_<table>`` and the temporary tables ``version_<table>``, ``survivor`` and ``map_stay_type`` of the consolidation.

    Args:
        statements: the consolidation's.
        delivered: tables that the hospital delivered.
        stay_codes: coded columns of stays whose standard codes it reads.
    """
    connection.execute(
        statements(
            "not_one_person",
            delivered=delivered,
            limits=hospital.one_person,
            shifted=hospital.calendar == "shifted",
            dated=_DATED,
            naming_a_stay=_NAMING_A_STAY,
            stay_codes=stay_codes,
        )
    )
