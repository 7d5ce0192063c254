"""The traps that can be planted: where, what becomes of the record, and at which default rate.

A record carries one trap at most, so every count is exact. ``rejected``: the record must not be accepted. ``flagged``:
it is accepted, with a finding. ``kept``: it must be read like any other. ``superseded``: another record replaces it.
``unparseable``: its bytes are damaged; it alone is lost, and counted.
Default rates keep rejected records below 0.1 % and orphans below 0.5 %, so that the gates pass.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Trap:
    """One trap: ``table`` and ``column`` say where it is planted, ``rule`` the landing rule that must find it (or "")."""

    name: str
    table: str
    column: str
    outcome: str
    rate: float
    rule: str = ""


CATALOGUE: tuple[Trap, ...] = (
    Trap(
        "administration.bad_datetime", "administration", "given_at", "rejected", 0.0002, "administration.given_at.type"
    ),
    Trap("administration.dose_text", "administration", "dose", "rejected", 0.0002, "administration.dose.type"),
    Trap(
        "administration.missing_required",
        "administration",
        "patient_id",
        "rejected",
        0.0001,
        "administration.patient_id.required",
    ),
    Trap(
        "administration.missing_spring_hour",
        "administration",
        "given_at",
        "rejected",
        0.00005,
        "administration.given_at.missing_hour",
    ),
    Trap(
        "administration.repeated_autumn_hour",
        "administration",
        "given_at",
        "flagged",
        0.00005,
        "administration.given_at.repeated_hour",
    ),
    Trap("administration.autumn_hour_with_offset", "administration", "given_at", "kept", 0.00005),
    Trap("administration.unresolved_stay", "administration", "stay_id", "flagged", 0.0003),
    Trap("administration.unmapped_drug", "administration", "drug_code", "flagged", 0.0005),
    Trap("administration.unpadded_ucd", "administration", "drug_code", "kept", 0.01),
    Trap("administration.label_separator", "administration", "drug_label", "kept", 0.0005),
    Trap("administration.label_accents", "administration", "drug_label", "kept", 0.0005),
    Trap("administration.label_quote", "administration", "drug_label", "kept", 0.0002),
    Trap("administration.label_newline", "administration", "drug_label", "kept", 0.0002),
    Trap("administration.stray_quote", "administration", "drug_label", "unparseable", 0.00005),
    Trap("administration.invalid_byte", "administration", "drug_label", "unparseable", 0.00005),
    Trap("administration.nul_byte", "administration", "drug_label", "unparseable", 0.00005),
    Trap("administration.exact_duplicate", "administration", "administration_id", "superseded", 0.0005),
    Trap("stay.bad_datetime", "stay", "admitted_at", "rejected", 0.0002, "stay.admitted_at.type"),
    Trap("stay.missing_required", "stay", "stay_type", "rejected", 0.0002, "stay.stay_type.required"),
    Trap("stay.exact_duplicate", "stay", "stay_id", "superseded", 0.001),
    Trap("specimen.bad_datetime", "specimen", "collected_at", "rejected", 0.0002, "specimen.collected_at.type"),
    Trap("specimen.exact_duplicate", "specimen", "specimen_id", "superseded", 0.001),
    Trap("isolate.label_mojibake", "isolate", "organism_label", "kept", 0.003),
    Trap("isolate.label_newline", "isolate", "organism_label", "kept", 0.001),
    Trap("susceptibility.operator_padded", "susceptibility", "operator", "kept", 0.01),
    Trap("susceptibility.operator_reversed", "susceptibility", "operator", "kept", 0.002),
    Trap("susceptibility.category_with_value", "susceptibility", "category", "flagged", 0.002),
    Trap("lab_result.text_in_number", "lab_result", "value", "rejected", 0.0003, "lab_result.value.type"),
    Trap("lab_result.exact_duplicate", "lab_result", "lab_result_id", "superseded", 0.0005),
    Trap("diagnosis.dotted_code", "diagnosis", "diagnosis_code", "kept", 0.02),
    Trap("patient.bad_date", "patient", "birth_date", "rejected", 0.0002, "patient.birth_date.type"),
    Trap("patient.missing_required", "patient", "sex", "rejected", 0.0002, "patient.sex.required"),
    Trap("patient.invalid_nir_key", "patient", "national_id", "flagged", 0.01, "patient.national_id.nir"),
    Trap("patient.exact_duplicate", "patient", "patient_id", "superseded", 0.005),
)

DEFAULT_RATES: dict[str, float] = {trap.name: trap.rate for trap in CATALOGUE}


def traps_of(table: str) -> tuple[Trap, ...]:
    """The traps of a table, in planting order."""
    return tuple(trap for trap in CATALOGUE if trap.table == table)
