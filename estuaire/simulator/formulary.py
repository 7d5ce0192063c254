"""Drugs given in the simulated hospitals: usual adult regimens, in units that the WHO DDDs can count.

Doses follow French labelling and the DDD worked examples of the project's domain notes; weights are plausible shares of
courses, not estimates.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Regimen:
    """One way to give a drug.

    Attributes:
        weight: antibacterials: share of courses; other drugs: probability that a full stay has it.
        days: mean length of a course; 0 means the whole stay.
    """

    atc: str
    label: str
    route: str
    dose: float
    unit: str
    times_per_day: int
    days: float
    weight: float

    @property
    def antibacterial(self) -> bool:
        """Whether an antibiotic course draws it."""
        return self.atc.startswith(("J01", "P01AB"))


_UD = "{unit_dose}"

REGIMENS: tuple[Regimen, ...] = (
    Regimen("J01CR02", "AMOXICILLINE ACIDE CLAVULANIQUE 1 G PDR INJ", "intravenous", 1.0, "g", 3, 4, 0.130),
    Regimen("J01CR02", "AMOXICILLINE ACIDE CLAVULANIQUE 1 G SACHET", "oral", 1.0, "g", 3, 6, 0.120),
    Regimen("J01DD04", "CEFTRIAXONE 1 G PDR INJ", "intravenous", 1.0, "g", 1, 6, 0.130),
    Regimen("J01DD04", "CEFTRIAXONE 1 G PDR INJ IM", "intramuscular", 1.0, "g", 1, 4, 0.010),
    Regimen("J01CR05", "PIPERACILLINE TAZOBACTAM 4 G PDR INJ", "intravenous", 4.0, "g", 4, 6, 0.085),
    Regimen("J01CA04", "AMOXICILLINE 1 G PDR INJ", "intravenous", 2.0, "g", 3, 6, 0.050),
    Regimen("J01CA04", "AMOXICILLINE 500 MG GEL", "oral", 1.0, "g", 3, 6, 0.085),
    Regimen("J01MA02", "CIPROFLOXACINE 400 MG SOL INJ", "intravenous", 400.0, "mg", 2, 6, 0.010),
    Regimen("J01MA02", "CIPROFLOXACINE 500 MG CPR", "oral", 500.0, "mg", 2, 7, 0.030),
    Regimen("J01MA12", "LEVOFLOXACINE 500 MG CPR", "oral", 500.0, "mg", 1, 7, 0.035),
    Regimen("J01DH02", "MEROPENEM 1 G PDR INJ", "intravenous", 1.0, "g", 3, 7, 0.025),
    Regimen("J01GB03", "GENTAMICINE 80 MG SOL INJ", "intravenous", 320.0, "mg", 1, 2, 0.025),
    Regimen("J01GB06", "AMIKACINE 500 MG PDR INJ", "intravenous", 1500.0, "mg", 1, 1.5, 0.025),
    Regimen("J01XA01", "VANCOMYCINE 1 G PDR INJ", "intravenous", 1.0, "g", 2, 7, 0.025),
    Regimen("J01EE01", "SULFAMETHOXAZOLE TRIMETHOPRIME FORTE CPR", "oral", 2.0, _UD, 2, 8, 0.035),
    Regimen("J01EE01", "SULFAMETHOXAZOLE TRIMETHOPRIME 400 MG AMP", "intravenous", 2.0, _UD, 2, 6, 0.005),
    Regimen("J01XD01", "METRONIDAZOLE 500 MG SOL INJ", "intravenous", 0.5, "g", 3, 5, 0.045),
    Regimen("P01AB01", "METRONIDAZOLE 500 MG CPR", "oral", 500.0, "mg", 3, 6, 0.020),
    Regimen("J01DD01", "CEFOTAXIME 2 G PDR INJ", "intravenous", 2.0, "g", 3, 6, 0.035),
    Regimen("J01DD02", "CEFTAZIDIME 2 G PDR INJ", "intravenous", 2.0, "g", 3, 7, 0.012),
    Regimen("J01CE01", "BENZYLPENICILLINE 4 MUI PDR INJ", "intravenous", 4.0, "[MIU]", 6, 7, 0.003),
    Regimen("J01XB01", "COLISTIMETHATE 3 MUI PDR INJ", "intravenous", 3.0, "[MIU]", 3, 8, 0.003),
    Regimen("J01XX08", "LINEZOLIDE 600 MG SOL INJ", "intravenous", 600.0, "mg", 2, 7, 0.010),
    Regimen("J01FA10", "AZITHROMYCINE 250 MG CPR", "oral", 250.0, "mg", 1, 4, 0.015),
    Regimen("J01FF01", "CLINDAMYCINE 600 MG SOL INJ", "intravenous", 600.0, "mg", 3, 6, 0.010),
    Regimen("J01XE01", "NITROFURANTOINE 50 MG CPR", "oral", 100.0, "mg", 3, 5, 0.008),
    Regimen("J01XX01", "FOSFOMYCINE 3 G SACHET", "oral", 3.0, "g", 1, 1, 0.010),
    Regimen("J01XX01", "FOSFOMYCINE 4 G PDR INJ", "intravenous", 4.0, "g", 4, 5, 0.003),
    Regimen("J01DB04", "CEFAZOLINE 2 G PDR INJ", "intravenous", 2.0, "g", 3, 1.5, 0.060),
    Regimen("J01CF04", "OXACILLINE 1 G PDR INJ", "intravenous", 2.0, "g", 6, 7, 0.010),
    Regimen("N02BE01", "PARACETAMOL 1 G CPR", "oral", 1.0, "g", 4, 0, 0.48),
    Regimen("N02BE01", "PARACETAMOL 1 G SOL INJ", "intravenous", 1.0, "g", 4, 0, 0.18),
    Regimen("A02BC02", "PANTOPRAZOLE 40 MG CPR", "oral", 40.0, "mg", 1, 0, 0.45),
    Regimen("B01AB05", "ENOXAPARINE 4000 UI SER", "subcutaneous", 4000.0, "[IU]", 1, 0, 0.58),
    Regimen("C03CA01", "FUROSEMIDE 40 MG CPR", "oral", 40.0, "mg", 2, 0, 0.30),
    Regimen("A10AB01", "INSULINE HUMAINE RAPIDE 100 UI/ML", "subcutaneous", 8.0, "[IU]", 4, 0, 0.20),
)
