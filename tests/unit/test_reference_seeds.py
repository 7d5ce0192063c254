"""The reference seeds of organisms, drugs tested and expected resistance (docs/domain/codes.md, docs/domain/categories.md)."""

from __future__ import annotations

import csv
from functools import lru_cache

import pytest

from estuaire.contract.codes import SEEDS, code_systems

# EUCAST's second table of expected resistant phenotypes: non-fermenters, and the names that its organisms bear today
NON_FERMENTERS = {
    "Achromobacter", "Acinetobacter", "Burkholderia", "Chryseobacterium", "Elizabethkingia", "Pseudomonas", "Stenotrophomonas",
}  # fmt: skip
RENAMED = ("B_PSDMN_LUTL", "B_PSDMN_PRTC")  # of other genera today, which the table does not name


@lru_cache(maxsize=8)
def seed(name: str, key: str) -> dict[str, dict[str, str]]:
    with (SEEDS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return {row[key]: row for row in csv.DictReader(file)}


def expected(organism: str) -> set[str]:
    return set(seed("expected_resistance", "organism_code").get(organism, {"agent_codes": ""})["agent_codes"].split())


@pytest.mark.parametrize(
    ("organism", "agent", "held"),
    [
        ("B_ESCHR_COLI", "RIF", True),
        ("B_KLBSL_PNMN", "RIF", True),
        ("B_PSDMN_AERG", "RIF", True),
        ("B_ACNTB_BMNN-C", "RIF", True),
        ("B_STPHY_AURS", "RIF", False),
        ("B_HMPHL_INFL", "RIF", False),
        ("B_NESSR_MNNG", "RIF", False),
        ("B_LGNLL_PNMP", "RIF", False),
        ("B_STPHY_CONS", "CAZ", True),
        ("B_STPHY_EPDR", "CAZ", True),
        ("B_STPHY_CPTS", "CAZ", True),
        ("B_KLBSL_PNMN-C", "AMX", True),
        ("B_KLBSL_MCHG", "AMX", True),
        ("B_KLBSL_GRMN", "TIC", True),
        ("B_RLTLL_ORNT", "AMX", True),
        ("B_KLBSL_ORNT", "AMX", True),  # the accepted name of the one above
        ("B_RLTLL", "AMX", True),
        ("B_CTRBC_FRND-C", "AMC", True),
        ("B_CTRBC_BRAK", "AMC", True),
        ("B_CTRBC_PRTC", "FOX", True),
        ("B_CTRBC_KOSR", "AMC", False),
        ("B_BRCLL_ANTH", "CAZ", True),  # EUCAST names it Ochrobactrum anthropi
        ("B_OCHRB_ANTH", "CAZ", True),
        ("B_BRCLL_MLTN", "RIF", False),
        ("B_LCTCS_RHMN", "VAN", True),  # EUCAST names it Lactobacillus
        ("B_THMSC_RAMS", "VAN", True),  # EUCAST names it Clostridium ramosum
        ("B_LCTBC_INRS", "VAN", False),
        ("B_ENTRC", "CXA", True),  # an oral ester is its cephalosporin
        ("B_PROTS_MRBL", "COL", True),
        ("B_PROTS_MRBL", "NIT", True),
        ("B_PSDMN_AERG", "CTX", True),
        ("B_STNTR_MLTP", "MEM", True),
        ("B_ESCHR_COLI", "AMX", False),
        ("B_ESCHR_ALBR", "AMX", False),
    ],
)
def test_expected_resistance(organism: str, agent: str, held: bool) -> None:
    assert (agent in expected(organism)) == held


def test_every_enterobacterale_and_non_fermenter_is_resistant_to_rifampicin() -> None:
    """Enterobacterales are told by what EUCAST's first table says of all of them: no streptogramin, no oxazolidinone, no fusidic acid."""
    table = {
        c for c in seed("expected_resistance", "organism_code") if {"PEN", "FUS", "LNZ", "VAN", "CLI"} <= expected(c)
    }
    assert len(table) == 396
    assert {c for c in table if "RIF" not in expected(c)} == set()
    organisms = seed("organism", "organism_code")
    listed = {c for c, o in organisms.items() if o["genus"] in NON_FERMENTERS} - set(RENAMED)
    assert len(listed) > 130
    assert listed <= table


def test_every_coagulase_negative_staphylococcus_is_resistant_to_ceftazidime() -> None:
    positive = {
        "B_STPHY_CGLN",
        "B_STPHY_COPS",
        "B_STPHY_DLPH",
        "B_STPHY_GNTS",
        "B_STPHY_HYCS",
        "B_STPHY_INTR",
        "B_STPHY_PSDN",
    }
    staphylococci = {c for c, o in seed("organism", "organism_code").items() if o["genus"] == "Staphylococcus"}
    without = {c for c in staphylococci if "CAZ" not in expected(c)}
    assert without == positive | {"B_STPHY"}  # a genus alone may be one of them


@pytest.mark.parametrize(
    ("agent", "atc"),
    [
        ("AMK", "J01GB06"), ("GEN", "J01GB03"), ("CLI", "J01FF01"), ("ERY", "J01FA01"), ("TCY", "J01AA07"), ("VAN", "J01XA01"),
        ("COL", "J01XB01"), ("MTR", "J01XD01"), ("DOX", "J01AA02"), ("CHL", "J01BA01"), ("FUS", "J01XC01"), ("FLU", "J02AC01"),
        ("RFM", "J04AB03"), ("TRB", "D01BA02"), ("QDA", "J01FG02"), ("FDX", "A07AA12"),
    ],
)  # fmt: skip
def test_an_agent_bears_its_systemic_code(agent: str, atc: str) -> None:
    assert seed("antimicrobial_agent", "agent_code")[agent]["atc"] == atc


def test_no_agent_bears_a_local_code_where_the_systemic_one_is_known() -> None:
    systemic = {row["ab"] for row in seed("antimicrobial", "atc").values() if row["atc"].startswith("J01")}
    agents = seed("antimicrobial_agent", "agent_code")
    assert {c for c, row in agents.items() if c in systemic and not row["atc"].startswith("J01")} == set()
    assert len(agents) == 497
    assert {c for c, row in agents.items() if not row["class"]} == set()


def test_the_two_seeds_of_drugs_agree_on_the_class() -> None:
    drugs = seed("antimicrobial", "atc")
    told = {
        (c, row["class"], drugs[row["atc"]]["class"])
        for c, row in seed("antimicrobial_agent", "agent_code").items()
        if row["atc"] in drugs
    }
    assert len(told) > 200
    assert {t for t in told if t[1] != t[2]} == set()
    assert seed("antimicrobial_agent", "agent_code")["NEM"]["class"] == drugs["J01MB08"]["class"] == "Quinolones"


def test_the_organisms_of_human_infections_are_there() -> None:
    names = {row["name"]: code for code, row in seed("organism", "organism_code").items()}
    wanted = {
        "Klebsiella michiganensis": "B_KLBSL_MCHG", "Klebsiella grimontii": "B_KLBSL_GRMN", "Citrobacter portucalensis": "B_CTRBC_PRTC",
        "Citrobacter europaeus": "B_CTRBC_ERPS", "Serratia ureilytica": "B_SERRT_URLY", "Escherichia albertii": "B_ESCHR_ALBR",
        "Ralstonia insidiosa": "B_RLSTN_INSD", "Cupriavidus gilardii": "B_CPRVD_GLRD", "Pandoraea apista": "B_PANDR_APST",
        "Lactobacillus iners": "B_LCTBC_INRS", "Phocaeicola dorei": "B_PHCCL_DORE", "Parabacteroides goldsteinii": "B_PRBCT_GLDS",
        "Klebsiella pneumoniae complex": "B_KLBSL_PNMN-C", "Citrobacter freundii complex": "B_CTRBC_FRND-C",
        "Enterobacter cloacae complex": "B_ENTRBC_CLOC-C", "Acinetobacter baumannii complex": "B_ACNTB_BMNN-C",
    }  # fmt: skip
    assert {name: names.get(name) for name in wanted} == wanted
    assert set(wanted.values()) <= set(code_systems()["organism"].values)
