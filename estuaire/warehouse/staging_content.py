"""Which consolidated rows the warehouse holds, and which hospitals are to be loaded: those whose staging rows are not those."""

from __future__ import annotations

import csv
import hashlib
import json
from functools import lru_cache

from estuaire.base.settings import PROJECT_ROOT
from estuaire.base.sql import texts
from estuaire.contract.layer_columns import staging_columns
from estuaire.contract.registry import SUBSTANCE, Hospital
from estuaire.contract.tables import load_contract
from estuaire.storage import set_aside
from estuaire.storage.ledger import fetch
from estuaire.storage.platform import Platform

DRUG_TABLES = ("administration", "prescription")
ANTIMICROBIALS = PROJECT_ROOT / "dbt_project" / "seeds" / "reference" / "antimicrobial.csv"


@lru_cache(maxsize=1)
def antibacterial_codes() -> tuple[str, ...]:
    """ATC codes of the antibacterials that the models know: of the drugs, the warehouse holds only these."""
    with ANTIMICROBIALS.open(encoding="utf-8", newline="") as file:
        return tuple(sorted(row["atc"] for row in csv.DictReader(file)))


def rows_wanted(table: str) -> str:
    """SQL condition on the consolidated rows that the warehouse holds."""
    if table not in DRUG_TABLES:
        return "true"
    codes = texts(antibacterial_codes())
    # a dose without a standard code may be an antibacterial's: the marts say how many there are beside each rate
    return f"(drug_code in ({codes}) or drug_code is null)" if table == "administration" else f"drug_code in ({codes})"


def why_not_loaded(table: str) -> str:
    """SQL: why the warehouse does not hold a consolidated row; empty for one that it holds."""
    unmapped = "when drug_code is null then 'drug_without_standard_code' " if table == "prescription" else ""
    return f"case when {rows_wanted(table)} then '' {unmapped}else 'not_an_antibacterial' end"


def pending(platform: Platform) -> dict[str, str]:
    """Hospitals whose staging rows are not those that loading would give now -> the hash of what it would give: the consolidated
    content, which rows and columns the warehouse holds, and what the registry says a dose of a combination is."""
    held = [(t.name, why_not_loaded(t.name), staging_columns(t)) for t in load_contract().tables]
    drugs = hashlib.sha256(repr(held).encode()).hexdigest()[:16]
    rows = fetch(
        platform.database,
        "select c.hospital_id, c.content_hash, l.content_hash as loaded from control.consolidation c "
        "left join control.load l using (hospital_id) order by 1",
    )
    registered = platform.registry.hospitals
    aside = set_aside.unresolved(platform.database)
    rows = [r for r in rows if r["hospital_id"] not in aside]
    wanted = {r["hospital_id"]: f"{r['content_hash']}-{drugs}{_basis(registered.get(r['hospital_id']))}" for r in rows}
    # a hospital that the registry no longer holds, or not rightly, stays as it was loaded
    return {h: wanted[h] for r in rows if (h := r["hospital_id"]) in registered and r["loaded"] != wanted[h]}


def _basis(hospital: Hospital | None) -> str:
    """What distinguishes a hospital that does not record doses of combinations as substances; empty for one that does."""
    if hospital is None or (hospital.combination_doses == SUBSTANCE and not hospital.combination_doses_by_drug):
        return ""
    told = json.dumps([hospital.combination_doses, hospital.combination_doses_by_drug], sort_keys=True)
    return f"-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
