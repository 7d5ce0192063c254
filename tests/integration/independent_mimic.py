"""What hospital 38's raw files say, counted with pandas and nothing of the mapping or the platform but the questions.

Names are the raw files' own. Where two names are one organism this module says so itself (SAME).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

GIVEN = (
    "Administered", "Delayed Administered", "Partial Administered", "Administered in Other Location",
    "Administered Bolus from IV Drip", "Started", "Delayed Started", "Started in Other Location",
    "Applied", "Applied in Other Location", "Removed Existing / Applied New",
)  # fmt: skip
STATEMENTS = ("CANCELLED", "MIXED BACTERIAL FLORA", "POSITIVE", "POSITIVE FOR INFLUENZA A VIRAL ANTIGEN")
UNKNOWN = ("PARAINFLUENZA VIRUS TYPE 3",)  # the reference holds bacteria and fungi
SCREENING = ("MRSA SCREEN", "Staph aureus Screen", "R/O VANCOMYCIN RESISTANT ENTEROCOCCUS", "Swab - R/O Yeast - IC")
SAME = {
    "CANDIDA ALBICANS, PRESUMPTIVE IDENTIFICATION": "CANDIDA ALBICANS",
    "YEAST, PRESUMPTIVELY NOT C. ALBICANS": "YEAST",
    "POSITIVE FOR METHICILLIN RESISTANT STAPH AUREUS": "STAPH AUREUS COAG +",
    "ACINETOBACTER BAUMANNII": "ACINETOBACTER BAUMANNII COMPLEX",  # a species and its complex are one
    "GRAM POSITIVE RODS": "GRAM POSITIVE BACTERIA",
    "GRAM NEGATIVE ROD #3": "GRAM NEGATIVE ROD(S)",
    "NON-FERMENTER, NOT PSEUDOMONAS AERUGINOSA": "GRAM NEGATIVE ROD(S)",
    "ANAEROBIC GRAM POSITIVE ROD(S)": "ANAEROBIC GRAM POSITIVE COCCUS(I)",
}
# ATC code -> how the drug is written in emar (lower case), and whether its oral form is another drug
DRUGS = {
    "J01XA01": (("vancomycin",), True),
    "J01CR05": (("piperacillin-tazobactam",), False),
    "J01DD04": (("ceftriaxone",), False),
    "J01DE01": (("cefepime",), False),
    "J01MA02": (("ciprofloxacin", "ciprofloxacin hcl", "ciprofloxacin iv"), False),
}
ANTIBACTERIAL = (
    "vancomycin|^cef|cephalexin|piperacillin|meropenem|metronidazole|ciprofloxacin|levofloxacin|azithromycin|clarithromycin|"
    "erythromycin|ampicillin|amoxicillin|clindamycin|linezolid|daptomycin|doxycycline|sulfameth|trimethoprim|aztreonam|"
    "nitrofurantoin|rifaximin|tobramycin|^neomycin sulfate"
)
TOPICAL = "ophth"
PAIRS = (
    ("ESCHERICHIA COLI", "CIPROFLOXACIN"),
    ("ESCHERICHIA COLI", "CEFTRIAXONE"),
    ("KLEBSIELLA PNEUMONIAE", "GENTAMICIN"),
    ("STAPH AUREUS COAG +", "OXACILLIN"),
    ("PSEUDOMONAS AERUGINOSA", "MEROPENEM"),
)


def raw(folder: Path, name: str) -> pd.DataFrame:
    """A raw file, every column as text."""
    return pd.read_csv(folder / "hosp" / f"{name}.csv.gz", dtype=str, keep_default_na=False)


def admissions(folder: Path) -> int:
    return len(raw(folder, "admissions"))


def nights(folder: Path) -> set[tuple[str, pd.Timestamp]]:
    """(patient, night) of every admission; a night of two overlapping admissions is one."""
    stays = raw(folder, "admissions")
    found: set[tuple[str, pd.Timestamp]] = set()
    for patient, start, end in zip(stays["subject_id"], stays["admittime"], stays["dischtime"], strict=True):
        last = pd.Timestamp(end).normalize() - pd.Timedelta(days=1)
        found |= {(patient, day) for day in pd.date_range(pd.Timestamp(start).normalize(), last)}
    return found


def specimens(folder: Path) -> int:
    return int(raw(folder, "microbiologyevents")["micro_specimen_id"].nunique())


def isolates(folder: Path) -> pd.DataFrame:
    """One row per isolate: a specimen's test, organism and isolate number."""
    events = raw(folder, "microbiologyevents")
    tests = events.groupby("micro_specimen_id")["test_name"].agg(lambda names: set(names) <= set(SCREENING))
    named = events[events["org_name"] != ""].copy()
    named["screening"] = named["micro_specimen_id"].map(tests)
    named["at"] = named["charttime"].where(named["charttime"] != "", named["chartdate"]).map(pd.Timestamp)
    key = ["micro_specimen_id", "test_seq", "org_name", "isolate_num"]
    found = named.drop_duplicates(key)[[*key, "subject_id", "screening", "at"]].copy()
    found["species"] = found["org_name"].replace(SAME)
    found["counts"] = ~found["screening"] & ~found["org_name"].isin((*STATEMENTS, *UNKNOWN))
    return found.reset_index(drop=True)


def first_isolates(found: pd.DataFrame, method: str) -> int:
    """How many first isolates a method keeps (docs/domain/isolates.md)."""
    return sum(len(kept) for kept in _kept(found, method))


def _kept(found: pd.DataFrame, method: str) -> list[pd.DataFrame]:
    kept = []
    for _, own in (
        found[found["counts"]]
        .sort_values(["at", "micro_specimen_id", "isolate_num"])
        .groupby(["subject_id", "species"])
    ):
        days = own["at"].dt.normalize()
        if method == "all":
            kept.append(own)
        elif method == "patient":
            kept.append(own.head(1))
        elif method == "m39":
            kept.append(own[~own["at"].dt.year.duplicated()])
        else:
            length, start, opens = int(method.removeprefix("episode_")), None, []
            for day in days:
                opens.append(start is None or (day - start).days >= length)
                start = day if opens[-1] else start
            kept.append(own[opens])
    return kept


def tested_and_resistant(folder: Path, species: str, drug: str) -> tuple[int, int]:
    """Of the first isolates by CLSI M39: tested for the drug, and resistant. Of two specimens of one
    moment the first by number is taken (the platform takes the one with most results); no pair of PAIRS depends on it."""
    key = ["micro_specimen_id", "test_seq", "org_name", "isolate_num"]
    events = raw(folder, "microbiologyevents")
    results = events[(events["ab_name"] == drug) & (events["interpretation"] != "")]
    first = pd.concat([k for k in _kept(isolates(folder), "m39") if k["species"].iloc[0] == species])
    found = first.merge(results[[*key, "interpretation"]], on=key)
    return len(found), int((found["interpretation"] == "R").sum())


def given(folder: Path) -> pd.DataFrame:
    """Events that gave a dose, with the drug as charted or else as ordered, and whether by mouth."""
    events = raw(folder, "emar")
    events = events[events["event_txt"].str.strip().isin(GIVEN)].copy()
    orders = raw(folder, "prescriptions").query("drug_type == 'MAIN'").drop_duplicates("pharmacy_id")
    orders = orders.set_index("pharmacy_id")
    charted = raw(folder, "emar_detail").query("route != ''").drop_duplicates("emar_id").set_index("emar_id")["route"]
    ordered = events["pharmacy_id"].map(orders["drug"]).fillna("")
    events["drug"] = events["medication"].where(events["medication"] != "", ordered).str.strip().str.lower()
    route = events["emar_id"].map(charted).fillna(events["pharmacy_id"].map(orders["route"])).fillna("")
    events["by_mouth"] = route.isin(("PO", "PO/NG", "NG", "ORAL"))
    events["at"] = events["charttime"].map(pd.Timestamp)
    return events[["subject_id", "hadm_id", "drug", "by_mouth", "at"]]
