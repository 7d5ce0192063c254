"""dbt's sources file, written from the contract: ``python -m estuaire.warehouse.dbt_sources`` after a change of the contract.

A test compares the file with what this module renders, so that a column is described in one place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from estuaire.base.settings import PROJECT_ROOT
from estuaire.contract.layer_columns import DERIVED, staging_columns
from estuaire.contract.tables import load_contract

SOURCES_FILE = PROJECT_ROOT / "dbt_project" / "models" / "staging" / "_sources.yml"

# Tables of staging that no hospital delivers: name -> (grain, columns as (name, type, description)).
DERIVED_TABLES: dict[str, tuple[str, tuple[tuple[str, str, str], ...]]] = {
    "patient_map": (
        "one row per hospital and local patient pseudonym",
        (
            ("hospital_id", "text", "Hospital"),
            ("patient_id", "text", "Local patient pseudonym"),
            ("patient_key", "text", "The person, across hospitals"),
            ("link_method", "text", "How the local patient was linked to the person"),
        ),
    ),
    "administration_day": (
        "one row per hospital and local day with an administration record of any drug",
        (
            ("hospital_id", "text", "Hospital"),
            ("given_on", "date", "Local day"),
            ("records", "bigint", "Current administration records of the day, of any drug and status"),
            ("given", "bigint", "Of the records, those of status given"),
        ),
    ),
    "hospital": (
        "one row per hospital of the registry",
        (
            ("hospital_id", "text", "Hospital"),
            ("finess", "text", "FINESS number"),
            ("name", "text", "Name"),
            ("study_member", "boolean", "Enters group totals"),
            ("calendar", "text", "real, or shifted when the dates are not the true ones"),
            ("timezone", "text", "IANA time zone of local times"),
            (
                "combination_doses",
                "text",
                "What a dose of a combination is an amount of: substance (that its DDD counts) or product",
            ),
            (
                "combination_doses_by_drug",
                "jsonb",
                "ATC code -> substance or product, where a drug differs from combination_doses",
            ),
            (
                "latest_day",
                "date",
                "Last local day that a record may bear: a day after the newest extraction; null where none is known (a shifted calendar)",
            ),
        ),
    ),
    "hospital_guideline": (
        "one row per hospital and period for which the registry says what its laboratory interprets by",
        (
            ("hospital_id", "text", "Hospital"),
            ("guideline", "text", "Guideline family: eucast, ca_sfm or clsi"),
            ("guideline_version", "text", "Version, as the registry writes it"),
            ("valid_from", "date", "First day of collection"),
            ("valid_to", "date", "Last day of collection; null: until today"),
        ),
    ),
}

_ORIGIN = {
    "hospital_id": "Hospital that delivered the record",
    "delivery_id": "Delivery that the record came in",
    "record_number": "Number of the record in its file",
    "flags": "What the kernel noted about the record",
    "stale_correction": "A newer version is quarantined: this is the last valid one",
}


def render() -> str:
    """The YAML text of ``models/staging/_sources.yml``."""
    document = {
        "version": 2,
        "sources": [
            {
                "name": "staging",
                # where gate 3 or 4 holds a hospital back: views over it (estuaire/warehouse/last_good_content.py)
                "schema": "{{ env_var('ESTUAIRE_STAGING_SCHEMA', 'staging') }}",
                "description": "Consolidated rows, filled by the load stage; one partition per hospital",
                "tables": [*_contract_tables(), *_derived_tables()],
            }
        ],
    }
    body = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    return (
        "# Written by `python -m estuaire.warehouse.dbt_sources` from the contract: change the contract, not this file.\n"
        + body
    )


def _contract_tables() -> list[dict[str, Any]]:
    contract = load_contract()
    tables = []
    for table in contract.tables:
        columns = []
        for column in staging_columns(table):
            if column.source:
                text = table.column(column.source).label_en
                if column.name.endswith("_source"):
                    text += ": the hospital's own code"
                elif column.name.endswith("_local"):
                    text += ", local time"
            else:
                text = (_ORIGIN | DERIVED.get(table.name, {}))[column.name]
            columns.append(_column(column.name, column.postgres, text))
        tables.append(_table(table.name, table.grain_en, columns))
    return tables


def _derived_tables() -> list[dict[str, Any]]:
    return [
        _table(name, grain, [_column(*column) for column in columns])
        for name, (grain, columns) in DERIVED_TABLES.items()
    ]


def _table(name: str, grain: str, columns: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "description": f"Grain: {grain}.", "columns": columns}


def _column(name: str, data_type: str, description: str) -> dict[str, Any]:
    return {"name": name, "data_type": data_type, "description": description}


def write(path: Path = SOURCES_FILE) -> None:
    """(Re)write the file."""
    path.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    write()
