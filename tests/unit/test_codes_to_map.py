"""The worklist: what is suggested and why, and what a reviewer's answer does to the registry's files."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from registry_copy import registry

from estuaire.base.errors import UnknownHospital
from estuaire.base.settings import Settings
from estuaire.contract.codes import hospital_map
from estuaire.contract.registry import load_registry, read_code_map
from estuaire.stewardship import codes_to_map
from estuaire.stewardship.codes_to_map import CodeRefused, name_code_map
from estuaire.stewardship.suggestions import suggest
from estuaire.storage.platform import Platform

__all__ = ["registry"]


def _first(settings: Settings, system: str, local: str) -> tuple[str, str] | None:
    found = suggest(load_registry(settings.registry_dir), system, local)
    return (found[0].standard_code, found[0].how) if found else None


@pytest.mark.parametrize(
    ("system", "local", "standard", "how"),
    [
        ("organism", "ESCHERICHIA  COLI", "B_ESCHR_COLI", "name"),
        ("organism", "Staphylococus aureus", "B_STPHY_AURS", "alike"),
        ("antimicrobial_agent", "céfotaxime", "CTX", "name"),
        ("drug", "Amoxicilline", "J01CA04", "name 'amoxicilline'"),
        ("drug", "AMOXICILLINE/ACIDE CLAVULANIQUE 1G INJ", "J01CR02", "reads as AMC"),
        ("drug", "j01-cr-02", "J01CR02", "punctuation"),
    ],
)
def test_names_of_the_reference_are_found(registry: Settings, system: str, local: str, standard: str, how: str) -> None:
    found = _first(registry, system, local)
    assert found is not None
    assert found[0] == standard
    assert how in found[1] or "in the map of" in found[1]


def test_other_hospitals_maps_are_asked_but_not_its_own(registry: Settings) -> None:
    codes_to_map.accept(Platform(registry), "h01", "laboratory_test", "ZZ-KREA", "2160-0", "Dr A")
    entries = load_registry(registry.registry_dir)
    [found] = suggest(entries, "laboratory_test", "zz-krea")
    assert (found.standard_code, found.how) == ("2160-0", "same local code in the map of h01")
    assert suggest(entries, "laboratory_test", "zz-krea", without=frozenset({"h01"})) == []


def test_a_short_number_of_one_hospital_says_little(registry: Settings) -> None:
    codes_to_map.accept(Platform(registry), "h01", "laboratory_test", "90417", "2160-0", "Dr A")
    codes_to_map.accept(Platform(registry), "h01", "laboratory_test", "9041799999", "777-3", "Dr A")
    entries = load_registry(registry.registry_dir)
    [short], [long] = (suggest(entries, "laboratory_test", c) for c in ("90417", "9041799999"))
    assert short.score < 0.7 < long.score


def test_nothing_alike_gives_no_suggestion(registry: Settings) -> None:
    assert suggest(load_registry(registry.registry_dir), "organism", "qqqq wwww") == []


def test_an_answer_is_a_line_with_reviewer_and_day(registry: Settings) -> None:
    path = load_registry(registry.registry_dir).get("h01").code_maps["laboratory_test"]
    before = path.read_text(encoding="utf-8")
    codes_to_map.accept(Platform(registry), "h01", "laboratory_test", 'A,"b', "2160-0", "Dr A")
    assert path.read_text(encoding="utf-8") == before + f'"A,""b",2160-0,Dr A,{date.today().isoformat()}\n'
    assert hospital_map(load_registry(registry.registry_dir).get("h01"), "laboratory_test")['A,"B'] == "2160-0"


@pytest.mark.parametrize(
    ("hospital", "system", "standard"), [("h02", "organism", "B_ESCHR_COLI"), ("h03", "drug", "J01CR02")]
)
def test_a_missing_map_is_created_and_named(registry: Settings, hospital: str, system: str, standard: str) -> None:
    described = Path(str(registry.registry_dir)) / "hospitals" / f"{hospital}.yml"
    before = described.read_text(encoding="utf-8")
    done = codes_to_map.accept(Platform(registry), hospital, system, "XYZ1", standard, "Dr A")
    assert done.created
    assert read_code_map(done.file) == {"XYZ1": standard}
    assert load_registry(registry.registry_dir).get(hospital).code_maps[system] == done.file
    assert set(before.splitlines()) - set(described.read_text(encoding="utf-8").splitlines()) <= {
        line for line in before.splitlines() if "code_maps" in line
    }


@pytest.mark.parametrize(
    ("system", "local", "standard", "named"),
    [
        ("organism", "X9", "E. coli", "not a standard code"),
        ("drug", "X9", "J01", "not a standard code"),
        ("planets", "X9", "mars", "no code system"),
        ("organism", "b_eschr_coli ", "B_ESCHR_COLI", "standard code of organism itself"),
        ("sex", "  ", "female", "empty"),
        ("sex", "a\nb", "female", "not printable"),
    ],
)
def test_wrong_answers_are_refused(registry: Settings, system: str, local: str, standard: str, named: str) -> None:
    with pytest.raises(CodeRefused, match=named):
        codes_to_map.accept(Platform(registry), "h01", system, local, standard, "Dr A")


@pytest.mark.parametrize(
    ("system", "standard", "wanted"),
    [
        ("organism", "E. coli", "B_ESCHR_COLI"),
        ("organism", "B_KLBSL_PNMX", "B_KLBSL_PNMN"),
        ("organism", "b_eschr_cloi", "B_ESCHR_COLI"),
        ("sex", "femelle", "female"),
        ("result_status", "prelim", "preliminary"),
    ],
)
def test_a_wrong_standard_code_is_answered_with_the_nearest_ones(
    registry: Settings, system: str, standard: str, wanted: str
) -> None:
    """It offered the first five of the alphabet."""
    with pytest.raises(CodeRefused) as raised:
        codes_to_map.accept(Platform(registry), "h01", system, "X9", standard, "Dr A")
    assert wanted in raised.value.remedy.partition("nearest are ")[2].split(", ")[:3]


def test_a_second_answer_in_another_spelling_is_refused(registry: Settings) -> None:
    codes_to_map.accept(Platform(registry), "h01", "laboratory_test", "zz1", "2160-0", "Dr A")
    with pytest.raises(CodeRefused, match="mapped already, to 2160-0"):
        codes_to_map.accept(Platform(registry), "h01", "laboratory_test", " ZZ1", "777-3", "Dr A")
    with pytest.raises(UnknownHospital):
        codes_to_map.accept(Platform(registry), "h99", "laboratory_test", "zz1", "2160-0", "Dr A")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("id: h  # c\n", "id: h  # c\ncode_maps: {drug: drug.csv}\n"),
        ("id: h\ncode_maps: {}\nz: 1 # c\n", "id: h\ncode_maps: {drug: drug.csv}\nz: 1 # c\n"),
        ("code_maps: {sex: sex.csv} # c\n", "code_maps: {sex: sex.csv, drug: drug.csv} # c\n"),
        (
            "code_maps:\n  # first\n  sex: sex.csv  # c\nz: 1\n",
            "code_maps:\n  # first\n  sex: sex.csv  # c\n  drug: drug.csv\nz: 1\n",
        ),
        ("code_maps:\n  sex: sex.csv", "code_maps:\n  sex: sex.csv\n  drug: drug.csv"),
    ],
)
def test_naming_a_map_keeps_all_else(before: str, after: str) -> None:
    assert name_code_map(before, "drug", "drug.csv") == after
