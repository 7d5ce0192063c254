"""What the simulated hospitals code: units, diagnoses, procedures, laboratory tests, specimens, organisms, drugs tested.

Weights are plausible shares, not estimates. Breakpoints: EUCAST v15 for Enterobacterales where docs/domain/categories.md gives them, else rounded.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache

from estuaire.contract.codes import SEEDS

# unit type, label, share of passages
UNITS: tuple[tuple[str, str, float], ...] = (
    ("medicine", "MEDECINE INTERNE", 0.22),
    ("medicine", "CARDIOLOGIE", 0.14),
    ("medicine", "PNEUMOLOGIE", 0.10),
    ("surgery", "CHIRURGIE DIGESTIVE", 0.14),
    ("surgery", "CHIRURGIE ORTHOPÉDIQUE", 0.12),
    ("icu", "RÉANIMATION POLYVALENTE", 0.06),
    ("geriatrics", "GÉRIATRIE AIGUË", 0.10),
    ("emergency", "URGENCES, LITS PORTE", 0.07),
    ("rehabilitation", "SOINS DE SUITE", 0.05),
)
DAY_UNIT = ("day_care", "HÔPITAL DE JOUR")

# CIM-10; the infections first
INFECTIONS = ("N10", "N390", "J180", "J159", "A415", "A419", "L031", "K650")
DIAGNOSES = (
    *INFECTIONS,
    *("I10", "I500", "I219", "E119", "J441", "N185", "C349", "C509", "K359", "K802", "S7200", "M170", "I489", "G309"),
    *("F03", "D649", "E440", "Z511", "Z491", "U828+0", "I639", "R509"),
)
DIAGNOSIS_WEIGHTS = (*(0.03,) * 8, *(0.045,) * 14, *(0.016,) * 8)
PROCEDURES = (
    "HHFA001",
    "NEKA020",
    "DEQP003",
    "ZBQK002",
    "EBLA003",
    "GLLD017",
    "HEQE002",
    "JDLD001",
    "DZQM006",
    "YYYY600",
)


@dataclass(frozen=True)
class Test:
    """A laboratory test: LOINC, label, UCUM unit, median, spread of its logarithm, reference bounds."""

    loinc: str
    label: str
    unit: str
    median: float
    spread: float
    low: float
    high: float


TESTS: tuple[Test, ...] = (
    Test("718-7", "Hémoglobine", "g/dL", 12.2, 0.16, 12.0, 16.0),
    Test("6690-2", "Leucocytes", "10*9/L", 8.4, 0.45, 4.0, 10.0),
    Test("777-3", "Plaquettes", "10*9/L", 240.0, 0.38, 150.0, 400.0),
    Test("2160-0", "Créatinine", "mg/L", 9.5, 0.45, 6.0, 12.0),
    Test("3094-0", "Urée", "g/L", 0.42, 0.5, 0.15, 0.5),
    Test("2951-2", "Sodium", "mmol/L", 138.5, 0.03, 136.0, 145.0),
    Test("2823-3", "Potassium", "mmol/L", 4.1, 0.12, 3.5, 5.0),
    Test("1988-5", "Protéine C réactive", "mg/L", 24.0, 1.3, 0.0, 5.0),
    Test("33959-8", "Procalcitonine", "ug/L", 0.3, 1.4, 0.0, 0.5),
    Test("1742-6", "ALAT", "U/L", 26.0, 0.7, 7.0, 45.0),
    Test("1920-8", "ASAT", "U/L", 28.0, 0.6, 10.0, 40.0),
    Test("1975-2", "Bilirubine totale", "mg/L", 7.5, 0.6, 3.0, 12.0),
    Test("2345-7", "Glucose", "g/L", 1.1, 0.32, 0.7, 1.1),
    Test("2524-7", "Lactate", "mmol/L", 1.6, 0.5, 0.5, 2.2),
    Test("5902-2", "Temps de Quick", "s", 13.4, 0.15, 11.0, 14.5),
    Test("3173-2", "TCA", "s", 32.0, 0.2, 25.0, 38.0),
    Test("48065-7", "D-dimères", "ug/L", 720.0, 0.9, 0.0, 500.0),
    Test("1751-7", "Albumine", "g/L", 34.0, 0.18, 35.0, 50.0),
    Test("2885-2", "Protéines totales", "g/L", 66.0, 0.12, 60.0, 80.0),
    Test("17861-6", "Calcium", "mmol/L", 2.3, 0.06, 2.15, 2.55),
)

# nature, share of specimens, share that grows, body site, purpose
NATURES: tuple[tuple[str, float, float, str, str], ...] = (
    ("blood", 0.30, 0.12, "veine périphérique", "diagnostic"),
    ("urine", 0.40, 0.35, "milieu de jet", "diagnostic"),
    ("respiratory", 0.10, 0.40, "expectoration", "diagnostic"),
    ("wound", 0.07, 0.55, "plaie profonde", "diagnostic"),
    ("stool", 0.04, 0.10, "selles", "diagnostic"),
    ("swab", 0.09, 0.12, "rectal", "screening"),
)
INDEX_ORGANISM = "B_ESCHR_COLI"  # of the planted effects
NON_ORGANISMS = ("X_NO_GROWTH", "X_MIXED_FLORA", "X_COMMENSAL_FLORA", "X_CONTAMINATED", "X_CANCELLED")
NON_ORGANISM_WEIGHTS = (0.62, 0.16, 0.14, 0.05, 0.03)


@dataclass(frozen=True)
class Organism:
    """An organism: code and name of the reference seed, share of the isolates, panel that it is tested on."""

    code: str
    label: str
    weight: float
    panel: str


ORGANISMS: tuple[Organism, ...] = (
    Organism("B_ESCHR_COLI", "Escherichia coli", 0.36, "enterobacterales"),
    Organism("B_KLBSL_PNMN", "Klebsiella pneumoniae", 0.10, "enterobacterales"),
    Organism("B_PROTS_MRBL", "Proteus mirabilis", 0.05, "enterobacterales"),
    Organism("B_ENTRBC_CLOC", "Enterobacter cloacae", 0.05, "enterobacterales"),
    Organism("B_PSDMN_AERG", "Pseudomonas aeruginosa", 0.09, "pseudomonas"),
    Organism("B_STPHY_AURS", "Staphylococcus aureus", 0.14, "staphylococcus"),
    Organism("B_STPHY_EPDR", "Staphylococcus epidermidis", 0.06, "staphylococcus"),
    Organism("B_ENTRC_FCLS", "Enterococcus faecalis", 0.08, "enterococcus"),
    Organism("B_ENTRC_FACM", "Enterococcus faecium", 0.03, "enterococcus"),
    Organism("B_STRPT_PNMN", "Streptococcus pneumoniae", 0.02, "streptococcus"),
    Organism("B_STRPT_AGLC", "Streptococcus agalactiae", 0.02, "streptococcus"),
)

# drugs tested and the share of resistant isolates, by panel
PANELS: dict[str, tuple[tuple[str, float], ...]] = {
    "enterobacterales": (
        ("AMX", 0.52), ("AMC", 0.28), ("TZP", 0.10), ("CTX", 0.09), ("CAZ", 0.08), ("FEP", 0.06), ("MEM", 0.003), ("ETP", 0.01),
        ("GEN", 0.07), ("AMK", 0.02), ("CIP", 0.13), ("SXT", 0.24),
    ),
    "pseudomonas": (
        ("TZP", 0.15), ("CAZ", 0.12), ("FEP", 0.11), ("IPM", 0.14), ("MEM", 0.10), ("AMK", 0.04), ("TOB", 0.06), ("CIP", 0.14),
    ),
    "staphylococcus": (
        ("FOX", 0.12), ("ERY", 0.26), ("CLI", 0.20), ("GEN", 0.05), ("VAN", 0.001), ("LNZ", 0.001), ("RIF", 0.02), ("LVX", 0.12),
    ),
    "enterococcus": (("AMX", 0.15), ("VAN", 0.008), ("TEC", 0.006), ("LNZ", 0.004)),
    "streptococcus": (("PEN", 0.05), ("ERY", 0.24), ("LVX", 0.01), ("VAN", 0.0)),
}  # fmt: skip


@lru_cache(maxsize=1)
def intrinsic() -> frozenset[tuple[str, str]]:
    """(organism, drug) of the panels to which the reference seed says the species is intrinsically resistant."""
    simulated = {o.code for o in ORGANISMS}
    with (SEEDS / "expected_resistance.csv").open(encoding="utf-8", newline="") as file:
        return frozenset(
            (row["organism_code"], agent)
            for row in csv.DictReader(file)
            if row["organism_code"] in simulated
            for agent in row["agent_codes"].split()
        )


# MIC breakpoints in mg/L: S if <=, R if >
BREAKPOINTS: dict[str, tuple[float, float]] = {
    "AMX": (8, 8), "AMC": (8, 8), "TZP": (8, 8), "CTX": (1, 2), "CAZ": (1, 4), "FEP": (1, 4), "MEM": (2, 8), "ETP": (0.5, 0.5),
    "IPM": (2, 4), "GEN": (2, 2), "AMK": (8, 8), "TOB": (2, 2), "CIP": (0.25, 0.5), "LVX": (0.5, 1), "SXT": (2, 4), "FOX": (4, 4),
    "ERY": (1, 1), "CLI": (0.25, 0.25), "VAN": (4, 4), "TEC": (2, 2), "LNZ": (4, 4), "RIF": (0.06, 0.06), "PEN": (0.06, 2),
}  # fmt: skip
# disc content in ug: EUCAST breakpoint tables v15
DISC_LOADS = {
    "AMC": "20-10", "AMK": "30", "AMX": "20", "AMP": "10", "CAZ": "10", "CIP": "5", "CTX": "5", "FEP": "30", "FOX": "30", "GEN": "10",
    "IPM": "10", "MEM": "10", "NIT": "100", "SXT": "1.25-23.75", "TZP": "30-6", "VAN": "5",
}  # fmt: skip
DISC_BREAKPOINTS: dict[str, tuple[int, int]] = {"FOX": (22, 22)}
DEFAULT_DISC = (20, 17)
