"""What hospital 38's raw files say of antibiotics given, counted with pandas and nothing of the mapping, the seeds or the models: which month
is covered, what each dose is in defined daily doses (docs/domain/consumption.md), and why some have none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import independent_mimic as independent
import pandas as pd

BY_MOUTH = ("PO", "PO/NG", "NG", "ORAL")
INJECTED = ("IV", "IV DRIP", "IV BOLUS", "IM", "SC", "SUBCUT")
SWALLOWED = ("TAB", "CAP")  # of these drugs; inhaled capsules exist, of others
GRAMS = {"g": 1.0, "gm": 1.0, "mg": 0.001}


@dataclass(frozen=True)
class Drug:
    """ATC code by mouth and by injection, and grams (of cotrimoxazole: tablets of 400/80 mg) a day by the WHO index; None: no such DDD.

    ``share``: of the amount as this hospital charts it, what the DDD counts. ``units``: other units than grams -> the DDD's unit.
    """

    atc: str
    oral: float | None
    injected: float | None
    oral_atc: str = ""
    share: float = 1.0
    units: dict[str, float] | None = None


_VANCOMYCIN = Drug("J01XA01", 2, 2, oral_atc="A07AA09")
_METRONIDAZOLE = Drug("J01XD01", 2, 1.5, oral_atc="P01AB01")
_CIPROFLOXACIN = Drug("J01MA02", 1, 0.8)
_NITROFURANTOIN = Drug("J01XE01", 0.2, None)
# as charted (lower case); bags of piperacillin-tazobactam are 4 + 0.5 g, of ampicillin-sulbactam 2 + 1 g; tablets of
# amoxicillin-clavulanic acid are named by their 875 mg of amoxicillin; an ampoule's 600 mg are of trimethoprim alone (37.5 mL, 16 mg/mL)
DRUGS = {
    "vancomycin": _VANCOMYCIN,
    "vancomycin oral liquid": _VANCOMYCIN,
    "metronidazole": _METRONIDAZOLE,
    "metronidazole (flagyl)": _METRONIDAZOLE,
    "piperacillin-tazobactam": Drug("J01CR05", None, 14, share=4 / 4.5),
    "ampicillin-sulbactam": Drug("J01CR01", None, 6, share=2 / 3),
    "amoxicillin-clavulanic acid": Drug("J01CR02", 1.5, 3),
    "sulfameth/trimethoprim ds": Drug("J01EE01", 4, 4, units={"TAB": 2, "mL": 2 / 20}),
    "sulfameth/trimethoprim ss": Drug("J01EE01", 4, 4, units={"TAB": 1}),
    "sulfamethoxazole-trimethoprim": Drug("J01EE01", 4, 4, units={"mg": 1 / 80}),
    "cephalexin": Drug("J01DB01", 2, None),
    "cefazolin": Drug("J01DB04", None, 3),
    "ceftazidime": Drug("J01DD02", None, 4),
    "ceftriaxone": Drug("J01DD04", None, 2),
    "cefpodoxime proxetil": Drug("J01DD13", 0.4, None),
    "cefepime": Drug("J01DE01", None, 4),
    "aztreonam": Drug("J01DF01", None, 4),
    "meropenem": Drug("J01DH02", None, 3),
    "doxycycline hyclate": Drug("J01AA02", 0.1, 0.1),
    "erythromycin": Drug("J01FA01", 1, 1),
    "clarithromycin": Drug("J01FA09", 0.5, 1),
    "azithromycin": Drug("J01FA10", 0.3, 0.5),
    "clindamycin": Drug("J01FF01", 1.2, 1.8),
    "tobramycin sulfate": Drug("J01GB01", None, 0.24),
    "tobramycin": Drug("J01GB01", None, 0.24),
    "ciprofloxacin": _CIPROFLOXACIN,
    "ciprofloxacin hcl": _CIPROFLOXACIN,
    "ciprofloxacin iv": _CIPROFLOXACIN,
    "levofloxacin": Drug("J01MA12", 0.5, 0.5),
    "nitrofurantoin (macrodantin)": _NITROFURANTOIN,
    "nitrofurantoin monohyd (macrobid)": _NITROFURANTOIN,
    "linezolid": Drug("J01XX08", 1.2, 1.2),
    "daptomycin": Drug("J01XX09", None, 0.28),
    "neomycin sulfate": Drug("A07AA01", 5, 1),
    "rifaximin": Drug("A07AA11", 0.6, None),
}


@lru_cache(maxsize=1)
def events(folder: Path) -> pd.DataFrame:
    """Every event that gave a dose of a named drug: subject_id, drug, at, day, route (oral, injected or nothing), dose, unit."""
    given = independent.raw(folder, "emar")
    given = given[given["event_txt"].str.strip().isin(independent.GIVEN)].copy()
    orders = independent.raw(folder, "prescriptions").query("drug_type == 'MAIN'")
    agreed = orders.groupby("pharmacy_id")[["drug", "route"]].agg(lambda v: v.iloc[0] if v.nunique() == 1 else "")
    ordered = given["pharmacy_id"].map(agreed["drug"]).fillna("")
    given["drug"] = given["medication"].where(given["medication"] != "", ordered)
    given["drug"] = given["drug"].str.replace(r"\s+", " ", regex=True).str.strip().str.lower()
    given = given[given["drug"] != ""].copy()

    detail = independent.raw(folder, "emar_detail")
    detail = detail[detail["emar_id"].isin(given["emar_id"])]
    amounts = detail[detail["dose_given"] != ""].assign(
        amount=lambda d: pd.to_numeric(d["dose_given"], errors="coerce")
    )
    one = amounts.groupby("emar_id").agg(
        dose=("amount", lambda v: v.sum() if v.notna().all() else float("nan")),
        unit=("dose_given_unit", "first"),
        units=("dose_given_unit", "nunique"),
    )
    one = one[one["units"] == 1]
    given["dose"], given["unit"] = given["emar_id"].map(one["dose"]), given["emar_id"].map(one["unit"])
    charted = detail[detail["route"] != ""].groupby("emar_id")["route"].first()
    form = detail[detail["product_unit"] != ""].groupby("emar_id")["product_unit"].first()

    def word(text: str) -> str:
        return "".join(c if c.isalpha() else " " for c in text.lower()).split(" ")[0]

    its_own = [word(d) == word(o) for d, o in zip(given["drug"], ordered.reindex(given.index), strict=True)]
    route = given["pharmacy_id"].map(agreed["route"]).fillna("").where(its_own, "")
    route = given["emar_id"].map(charted).fillna(route)
    tablet = given["emar_id"].map(form).isin(SWALLOWED) & given["drug"].isin(DRUGS)
    route = route.where((route != "") | ~tablet, "PO")
    given["route"] = ["oral" if r in BY_MOUTH else "injected" if r in INJECTED else "" for r in route]
    given["at"] = given["charttime"].map(pd.Timestamp)
    given["day"] = given["at"].dt.normalize()
    return given[["subject_id", "drug", "at", "day", "route", "dose", "unit"]].reset_index(drop=True)


def covered_months(folder: Path) -> set[pd.Period]:
    """Months of which at least half of the days with a patient's night have an administration of any drug."""
    nights = {night for _, night in independent.nights(folder)}
    recorded = set(events(folder)["day"])
    by_month: dict[pd.Period, list[bool]] = {}
    for night in nights:
        by_month.setdefault(night.to_period("M"), []).append(night in recorded)
    return {month for month, found in by_month.items() if 2 * sum(found) >= len(found) and any(found)}


def patient_days(folder: Path) -> int:
    covered = covered_months(folder)
    return sum(night.to_period("M") in covered for _, night in independent.nights(folder))


@lru_cache(maxsize=2)
def doses(folder: Path, *, any_month: bool = False) -> pd.DataFrame:
    """One row a dose of an antibacterial given within an admission, in a covered month or in any: subject_id, day, route, atc, ddd, without
    (why it has no DDD: no_amount, no_route, no_unit, no_ddd_by_route; empty where it has one)."""
    known = events(folder)
    known = known[known["drug"].isin(DRUGS)]
    stays = independent.raw(folder, "admissions")
    spans: dict[str, list[tuple[pd.Timestamp, pd.Timestamp]]] = {}
    for patient, start, end in zip(stays["subject_id"], stays["admittime"], stays["dischtime"], strict=True):
        spans.setdefault(patient, []).append((pd.Timestamp(start), pd.Timestamp(end)))
    covered = covered_months(folder)
    inside = [
        any(a <= at <= b for a, b in spans.get(patient, [])) and (any_month or at.to_period("M") in covered)
        for patient, at in zip(known["subject_id"], known["at"], strict=True)
    ]
    known = known[inside].copy()
    counted = [read(*row) for row in known[["drug", "route", "dose", "unit"]].itertuples(index=False)]
    known["atc"], known["ddd"], known["without"] = zip(*counted, strict=True)
    return known[["subject_id", "day", "route", "atc", "ddd", "without"]].reset_index(drop=True)


def read(name: str, route: str, dose: float, unit: object) -> tuple[str, float, str]:
    """ATC code, DDDs and why there are none, of one dose as charted."""
    drug = DRUGS[name]
    atc = drug.oral_atc if drug.oral_atc and (route == "oral" or "oral" in name) else drug.atc
    daily = {"oral": drug.oral, "injected": drug.injected}.get(route)
    each = (drug.units or GRAMS).get(str(unit))
    if pd.isna(dose):
        return atc, 0.0, "no_amount"
    if not route:
        return atc, 0.0, "no_route"
    if daily is None:
        return atc, 0.0, "no_ddd_by_route"
    if each is None:
        return atc, 0.0, "no_unit"
    return atc, float(dose) * each * drug.share / daily, ""


def unknown_names(folder: Path) -> set[str]:
    """Names of given drugs that look like an antibacterial's and that DRUGS does not hold."""
    names = events(folder)["drug"]
    looks = names.str.contains(independent.ANTIBACTERIAL) & ~names.str.contains(independent.TOPICAL)
    return set(names[looks]) - set(DRUGS)
