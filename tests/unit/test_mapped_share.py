"""Codes that nobody has mapped: every coded column has a share that gate 2 asks, and the worklist says what each code costs."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from one_file import H01_ADMINISTRATION, land, lines

from estuaire.contract.mapped_share import marts_of_codes
from estuaire.contract.registry import load_registry
from estuaire.contract.tables import load_contract
from estuaire.gates import consolidated as gate
from estuaire.gates.consolidated import Finding
from estuaire.gates.results import Result, at_least
from estuaire.kernel.consolidate import HospitalInput, TableOutcome, consolidate_hospital
from estuaire.rules.rule_registry import Rule, load_rules
from estuaire.stewardship.unmapped_codes import marts_of, merged

ISOLATE = "NUM_PRELEVEMENT;NUM_ISOLAT;CODE_GERME;LIBELLE_GERME;quantity;STATUT"
SUSCEPTIBILITY = "NUM_PRELEVEMENT;NUM_ISOLAT;CODE_PRODUIT;method;operator;VALEUR;CATEGORIE;guideline;guideline_version;esbl;carbapenemase;pbp2a"


def consolidated(folder: Path, **tables: list[str]) -> dict[str, TableOutcome]:
    """h01's records by table, landed and consolidated; the first of each is the header."""
    files = {}
    for table, (header, *records) in tables.items():
        landed = land(folder, table, lines(header, *records))
        assert landed.error is None
        assert landed.outcome.output
        files[table] = [landed.outcome.output]
    given = HospitalInput(load_registry().get("h01"), files)
    return {o.table: o for o in consolidate_hospital(given, load_contract(), lambda t: folder / f"out-{t}.parquet")}


def judged(outcomes: dict[str, TableOutcome]) -> tuple[str, list[str]]:
    """What gate 2 decides on these files (Great Expectations taken to agree)."""
    finding = Finding("h01")
    for table, outcome in outcomes.items():
        checks = gate.count(str(outcome.output), table)
        for rule in load_rules("consolidated")[table]:
            checked, failed = checks[rule.id][:2]
            finding.results.append(Result(table, rule, checked, failed, gx_agrees=True))
    return finding.verdict()


def category(number: int, text: str) -> str:
    """A result as h01 writes it."""
    return f"EXM{number};1;CTX;CMI;<=;0.5;{text};EUCAST;2024;;;"


# ------------------------------------------------------------------------------------------------ cases C29 and C30


def test_a_hospital_whose_statuses_nobody_mapped_is_blocked_and_its_worklist_says_what_they_cost(
    tmp_path: Path,
) -> None:
    outcomes = consolidated(
        tmp_path,
        administration=[
            H01_ADMINISTRATION,
            *(f"{n};77;900;J01DD04;x;1;g;IV;16/03/2025 08:00:00;Fait" for n in range(3)),
        ],
        isolate=[ISOLATE, *(f"EXM{n};1;E. coli;x;;validé" for n in range(2))],
    )
    decided, reasons = judged(outcomes)
    assert decided == "block"
    assert {"administration.status.mapped: 3 of 3", "isolate.status.mapped: 2 of 2"} <= set(reasons)
    unmapped = merged(o.unmapped for o in outcomes.values())
    assert unmapped["administration_status"] == {"Fait": {"administration.status": 3}}
    assert unmapped["result_status"] == {"validé": {"isolate.status": 2}}
    assert marts_of(["administration.status"]) == ["antibiotic_consumption", "coverage", "exposure_resistance"]
    assert marts_of(["isolate.status"]) == ["cumulative_antibiogram", "exposure_resistance", "first_isolate"]


def test_one_record_of_each_is_enough(tmp_path: Path) -> None:
    """The case as it was filed: one dose and one isolate, both with a status that no map knows."""
    dose = "1;77;900;J01DD04;x;1;g;IV;16/03/2025 08:00:00;Fait"
    decided, reasons = judged(
        consolidated(tmp_path, administration=[H01_ADMINISTRATION, dose], isolate=[ISOLATE, "EXM1;1;E. coli;x;;validé"])
    )
    assert (decided, sorted(reasons)) == (
        "block", ["administration.status.mapped: 1 of 1", "isolate.status.mapped: 1 of 1"],
    )  # fmt: skip


def test_a_hospital_most_of_whose_categories_nobody_mapped_is_blocked(tmp_path: Path) -> None:
    texts = ("SDD", "NS", "Sensible", "Résistant", "S*", "WT", "I", "r")
    outcomes = consolidated(tmp_path, susceptibility=[SUSCEPTIBILITY, *(category(n, t) for n, t in enumerate(texts))])
    decided, reasons = judged(outcomes)
    assert (decided, reasons) == ("block", ["susceptibility.category.mapped: 6 of 8"])
    costs = outcomes["susceptibility"].unmapped["susceptibility_category"]
    assert costs == {t: {"susceptibility.category": 1} for t in texts[:6]}


# ------------------------------------------------------------------------------------------------ what counts as mapped


@pytest.mark.parametrize("text", ["S", "r", "SFP", "< 0.5 S", "<=0,25 sfp", " >= 32 R ", "2 I"])
def test_a_category_within_a_text_is_read(tmp_path: Path, text: str) -> None:
    outcomes = consolidated(tmp_path, susceptibility=[SUSCEPTIBILITY, category(1, text)])
    assert judged(outcomes) == ("pass", [])
    assert outcomes["susceptibility"].unmapped == {}


@pytest.mark.parametrize("text", ["< 0.5", "< 0.5 X", "S?", "0.5 mg S"])
def test_what_the_models_do_not_read_is_not_mapped(tmp_path: Path, text: str) -> None:
    outcomes = consolidated(tmp_path, susceptibility=[SUSCEPTIBILITY, category(1, text)])
    assert judged(outcomes)[0] == "block"
    assert outcomes["susceptibility"].unmapped == {"susceptibility_category": {text: {"susceptibility.category": 1}}}


def test_units_and_routes_are_asked_of_antibacterials_only(tmp_path: Path) -> None:
    def doses(drug: str) -> list[str]:
        return [H01_ADMINISTRATION, *(f"{n};77;900;{drug};x;1;ampoule;sonde;16/03/2025 08:00:00;F" for n in range(10))]

    assert judged(consolidated(tmp_path, administration=doses("N02BE01"))) == ("pass", [])
    assert judged(consolidated(tmp_path, administration=doses("J01DD04"))) == (
        "block", ["administration.dose_unit.mapped: 10 of 10", "administration.route.mapped: 10 of 10"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("code", "label", "route", "expected"),
    [
        ("4711", "Ceftriaxone 1 g pdr inj", "IV", "block"),
        ("CÉFTRIAXONE 1G", "", "IV", "block"),
        ("4711", "Ceftriaxone", "", "block"),
        ("4711", "Ciprofloxacine collyre", "OPH", "warn"),
        ("4711", "Paracétamol", "IV", "warn"),
    ],
)
def test_an_antibacterial_that_nobody_mapped_blocks_among_many_other_drugs(
    tmp_path: Path, code: str, label: str, route: str, expected: str
) -> None:
    """4 % of all drugs, and every antibacterial: below what blocks for drugs at large, and no figure would be left."""

    def dose(n: int, code: str, label: str, route: str) -> str:
        return f"{n};77;900;{code};{label};1;g;{route};16/03/2025 08:00:00;F"

    doses = [dose(n, "N02BE01", "Paracétamol", "IV") for n in range(96)] + [
        dose(100 + n, code, label, route) for n in range(4)
    ]
    decided, reasons = judged(consolidated(tmp_path, administration=[H01_ADMINISTRATION, *doses]))
    assert decided == expected
    assert ("administration.antibacterial.mapped: 4 of 4" in reasons) == (expected == "block")


# ------------------------------------------------------------------------------------------------ every column, every threshold


def rule_of(place: str) -> Rule:
    table = place.partition(".")[0]
    return next(r for r in load_rules("consolidated")[table] if r.id == f"{place}.mapped")


def test_every_coded_column_of_the_contract_says_which_marts_read_it_and_has_its_rule() -> None:
    coded = {f"{t.name}.{c.name}" for t in load_contract().tables for c in t.columns if c.type == "code"}
    assert set(marts_of_codes()) == coded
    for place in coded:
        rule = rule_of(place)
        assert (rule.blocking_share is not None) == bool(marts_of_codes()[place]) or not rule.implied, place


@pytest.mark.parametrize(
    ("place", "share"),
    [
        ("isolate.organism_code", 0.01), ("susceptibility.drug_code", 0.01), ("susceptibility.category", 0.01),
        ("specimen.purpose", 0.05), ("specimen.nature", 0.05), ("isolate.status", 0.05), ("administration.status", 0.05),
        ("stay.stay_type", 0.05), ("movement.unit_type", 0.05), ("unit.unit_type", 0.05), ("susceptibility.guideline", 0.05),
        ("administration.route", 0.05), ("administration.dose_unit", 0.05), ("patient.sex", 0.05), ("diagnosis.diagnosis_code", 0.05),
    ],
)  # fmt: skip
def test_the_share_that_blocks(place: str, share: float) -> None:
    rule = rule_of(place)
    assert rule.blocking_share == share
    many = 100_000
    kept, broken = (Result("t", rule, many, int(many * s), gx_agrees=True) for s in (share, share * 1.1))
    assert (kept.status, kept.blocks) == ("pass", False)
    assert (broken.status, broken.blocks) == ("fail", True)


def test_most_drugs_are_no_antibacterial_an_unmapped_one_warns_before_it_blocks() -> None:
    rule = rule_of("administration.drug_code")
    found = [Result("t", rule, 23_835, n, gx_agrees=True) for n in (200, 839, 1400)]  # 839: hospital 38's
    assert [(r.status, r.blocks) for r in found] == [("pass", False), ("fail", False), ("fail", True)]


# ------------------------------------------------------------------------------------------------ few rows


@pytest.mark.parametrize(
    ("of", "found", "blocks"),
    [(1, 1, True), (10, 1, False), (5, 1, True), (40, 2, False), (40, 3, True), (499, 499, True), (300, 4, False), (300, 7, True)],
)  # fmt: skip
def test_few_rows_block_where_chance_is_excluded(of: int, found: int, blocks: bool) -> None:
    result = Result("isolate", rule_of("isolate.organism_code"), of, found, gx_agrees=True)
    assert (result.status, result.blocks) == ("fail", blocks)


@pytest.mark.parametrize("share", [Fraction(1, 100), Fraction(1, 20), Fraction(1, 3)])
def test_the_probability_is_the_binomials(share: Fraction) -> None:
    for of in (1, 2, 5, 40, 200):
        for found in range(math.floor(of * share) + 1, of + 1):
            exact: Any = sum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(found, of + 1))
            assert at_least(found, of, float(share)) == pytest.approx(float(exact), rel=1e-9), (of, found)


def test_the_probability_of_millions_of_rows_is_a_number() -> None:
    assert at_least(150_000, 10_000_000, 0.01) == 0.0
    assert 0.49 < at_least(100_001, 10_000_000, 0.01) < 0.51
    assert at_least(3, 10_000_000, 0.01) == 1.0
