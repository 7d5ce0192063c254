"""The contract and the registry: one file per table, one per hospital, each mistake a typed error that names its place."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from one_file import land, lines, pseudonym

from estuaire.base.errors import ContractError, UnknownHospital
from estuaire.contract import registry, tables
from estuaire.contract.codes import hospital_map, map_error, registry_error
from estuaire.contract.registry import load_registry, read_code_map
from estuaire.contract.tables import load_contract, parse_table
from estuaire.warehouse.patient_level import real_hospitals

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A registry of three of the hospitals that a test may change; quicker to read than all."""
    copied = tmp_path / "registry"
    for name in ("h01", "h02", "h03"):
        (copied / "hospitals").mkdir(parents=True, exist_ok=True)
        shutil.copy(registry.FOLDER / "hospitals" / f"{name}.yml", copied / "hospitals")
        shutil.copytree(registry.FOLDER / "code_maps" / name, copied / "code_maps" / name)
    return copied


def _document(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def _write(path: Path, document: object) -> None:
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")


# ------------------------------------------------------------------------------------------------ contract


def test_the_contract_holds_the_tables_parents_first() -> None:
    contract = load_contract()
    assert set(contract.names) == {
        "patient", "patient_merge", "unit", "stay", "movement", "diagnosis", "procedure", "prescription", "administration",
        "specimen", "isolate", "susceptibility", "lab_result",
    }  # fmt: skip
    place = {name: i for i, name in enumerate(contract.names)}
    assert all(place[r.table] < place[t.name] for t in contract.tables for r in t.references)
    assert contract.table("susceptibility").key == (
        "specimen_id", "isolate_number", "drug_code", "method", "breakpoint_indication"
    )  # fmt: skip
    assert contract.table("susceptibility").key_optional == ("method", "breakpoint_indication")


def test_every_direct_identifier_has_its_pseudonym_and_every_code_its_system() -> None:
    columns = [c for t in load_contract().tables for c in t.columns]
    assert {c.name for c in columns if c.sensitivity == "direct_identifier"} == {
        "patient_id", "stay_id", "national_id", "upstream_pseudonym", "old_patient_id", "new_patient_id", "previous_stay_id",
        "specimen_id",
    }  # fmt: skip
    assert all(c.pseudonym for c in columns if c.sensitivity == "direct_identifier")
    assert all(c.code_system for c in columns if c.type == "code")


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(ContractError, match="contract version 9"):
        load_contract("9")


def _first(document: dict[str, Any]) -> dict[str, Any]:
    column: dict[str, Any] = document["columns"][0]
    return column


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda d: d.pop("key"), r"'key' is a required property"),
        (lambda d: _first(d).update(type="text"), r"columns\[0\].type"),
        (lambda d: _first(d).update(colour="red"), r"columns\[0\]"),
        (lambda d: _first(d).pop("pseudonym"), r"'pseudonym' is a required property"),
        (lambda d: d["columns"][2].pop("code_system"), r"'code_system' is a required property"),
        (lambda d: d["label"].pop("fr"), r"label"),
        (lambda d: d["columns"].append(_first(d)), "defines a column twice"),
        (lambda d: d.update(key=["nothing"]), "names the column nothing"),
        (lambda d: d.update(key=["postcode"]), "key column postcode must be required"),
        (lambda d: d.update(period_column="nothing"), "names the column nothing"),
        (lambda d: d["columns"][6]["pseudonym"].update({"with": ["nothing"]}), "names the column nothing"),
    ],
)
def test_a_mistake_in_a_table_is_a_typed_error_that_names_its_place(change: Change, where: str) -> None:
    document = _document(tables.FOLDER / "v1" / "patient.yml")
    parse_table(copy.deepcopy(document), "patient.yml")  # right before the change
    change(document)
    with pytest.raises(ContractError, match=where) as raised:
        parse_table(document, "patient.yml")
    assert "patient.yml" in raised.value.what
    assert raised.value.remedy


# ------------------------------------------------------------------------------------------------ registry


def test_the_projects_own_registry_is_right_with_every_code_map() -> None:
    found = load_registry()
    assert set(found.hospitals) >= {"h01", "h02", "h03"}
    for hospital in found.hospitals.values():
        for system in hospital.code_maps:
            assert hospital_map(hospital, system)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda d: d.pop("finess"), "'finess' is a required property"),
        (lambda d: d.update(finess="12"), "finess"),
        (lambda d: d["dialects"]["main"].update(encoding="utf-16"), "encoding"),
        (lambda d: d["dialects"]["main"].update(delimiter="#"), "delimiter"),
        (lambda d: d["tables"]["stay"].update(dialect="other"), "names the dialect other"),
        (lambda d: d["tables"]["stay"]["columns"].update(X="nothing"), "no column nothing"),
        (
            lambda d: d["tables"]["stay"].update(columns={"stay_id": "NDA"}),
            "has no column NDA.*turned round: write `NDA: stay_id`",
        ),
        (
            lambda d: d["tables"]["stay"]["columns"].update(NDA2="stay_id"),
            "two of your columns are the contract's stay_id",
        ),
        (
            lambda d: d["dialects"]["main"].update(separator=";"),
            "'separator' was unexpected.*allowed here: encoding, delimiter",
        ),
        (lambda d: d["tables"].update(nothing={"dialect": "main"}), "no table nothing"),
        (lambda d: d.update(timezone="Europe/Lutece"), "time zone"),
        (lambda d: d.update(id="h99"), "describes h99"),
    ],
)
def test_a_mistake_in_a_hospitals_file_is_a_typed_error(folder: Path, change: Change, where: str) -> None:
    load_registry(folder)  # right before the change
    load_registry.cache_clear()
    path = folder / "hospitals" / "h01.yml"
    document = _document(path)
    change(document)
    _write(path, document)
    found = load_registry(folder)
    with pytest.raises(ContractError, match=where) as raised:
        found.get("h01")
    # it ends at that hospital
    assert (raised.value.hospital, list(found.wrong)) == ("h01", ["h01"])
    assert found.get("h02").id == "h02"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("local,standard\nf,female\n", "wrong header"),
        ("local_code,standard_code,reviewer,reviewed_on\nf,female,,2026-01-01\n", "line 2 is not complete"),
        (
            "local_code,standard_code,reviewer,reviewed_on\nf,female,a,2026-01-01\nf,male,a,2026-01-01\n",
            "line 3 repeats",
        ),
    ],
)
def test_a_code_map_must_be_reviewed_line_by_line(folder: Path, text: str, where: str) -> None:
    (folder / "code_maps" / "h01" / "sex.csv").write_text(text, encoding="utf-8")
    found = load_registry(folder)
    wrong = registry_error(found, "h01")
    assert wrong is not None
    assert re.search(f"h01/sex.csv .*{where}", wrong.what)
    assert registry_error(found, "h02") is None
    assert read_code_map(found.get("h02").code_maps["sex"])


HEADER = "local_code,standard_code,reviewer,reviewed_on"
# (bytes of result_status.csv, what is said of it; empty: it is read): cases C22 and C23 are the first three
MAPS = {
    "saved as CSV by a spreadsheet": (
        f"{HEADER}\nprovisoire,preliminary,a,2026-01-01\ndéfinitif,final,a,2026-01-01\n".encode("cp1252"),
        r"h01/result_status.csv line 3 is not in UTF-8; it looks like windows-1252",
    ),
    "an empty line of a spreadsheet": (
        f"{HEADER}\nprovisoire,preliminary,a,2026-01-01\n,,,\n".encode(),
        r"h01/result_status.csv line 3 is empty",
    ),
    "saved as CSV UTF-8": (f"\ufeff{HEADER}\r\nprovisoire,preliminary,a,2026-01-01\r\n".encode(), ""),
    "saved as Unicode text": (f"{HEADER}\n".encode("utf-16"), r"line 1 is not in UTF-8; it looks like UTF-16"),
    "a quote that is not closed": (f'{HEADER}\n"provisoire,preliminary,a,2026-01-01\n'.encode(), r"line 2 is no CSV"),
    "a line end in quotes": (f'{HEADER}\n"pro\nv",preliminary,a,2026-01-01\n,,,\n'.encode(), r"line 4 is empty"),
    "a blank line": (f"{HEADER}\n\nprovisoire,preliminary,a,2026-01-01\n".encode(), r"line 2 is empty"),
    "nothing": (b"", r"line 1: wrong header"),
    "a field of 200,000 characters": (
        f"{HEADER}\n{'x' * 200_000},preliminary,a,2026-01-01\n".encode(),
        r"line 2 (is no CSV|holds a field)",
    ),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_code_map_as_a_spreadsheet_saves_it_is_read_or_named_and_ends_at_its_hospital(
    folder: Path, name: str
) -> None:
    raw, said = MAPS[name]
    document = _document(folder / "hospitals" / "h01.yml")
    document.setdefault("code_maps", {})["result_status"] = "result_status.csv"
    _write(folder / "hospitals" / "h01.yml", document)
    (folder / "code_maps" / "h01" / "result_status.csv").write_bytes(raw)
    found = load_registry(folder)
    wrong = registry_error(found, "h01")
    if not said:
        assert wrong is None
        assert hospital_map(found.get("h01"), "result_status")["PROVISOIRE"] == "preliminary"
        return
    assert isinstance(wrong, ContractError)
    assert re.search(said, wrong.sentence())
    assert [h for h in found.hospitals if registry_error(found, h) is not None] == ["h01"]


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xfe",
        b"!!python/object/apply:os.system [ls]",
        b"[" * 3000,
        b"a: &a [*a]",
        b"id: 2026-99-99",
        b"id: {}: {}",
        b"",
    ],
    ids=lambda raw: repr(raw[:12]),
)
def test_a_hospitals_file_that_is_none_holds_back_that_hospital_alone(folder: Path, raw: bytes) -> None:
    (folder / "hospitals" / "h02.yml").write_bytes(raw)
    found = load_registry(folder)
    assert list(found.wrong) == ["h02"]
    assert "h02.yml" in found.wrong["h02"].what
    assert list(found.hospitals) == ["h01", "h03"]
    assert "h02" in real_hospitals(found)  # nobody can say that its patients are not real


def test_two_hospitals_of_one_finess_number_hold_back_the_later(folder: Path) -> None:
    document = _document(folder / "hospitals" / "h03.yml")
    document["finess"] = _document(folder / "hospitals" / "h02.yml")["finess"]
    _write(folder / "hospitals" / "h03.yml", document)
    found = load_registry(folder)
    assert list(found.wrong) == ["h03"]
    assert "h03 and h02 share" in found.wrong["h03"].what


@pytest.mark.parametrize(
    ("lines_", "where"),
    [
        (["m,male", "f,femal"], r"h01/sex.csv line 3: 'femal' is no standard code of sex.*such as female"),
        (["f,female", "F,male"], "line 3: another spelling of this local code"),
    ],
)
def test_a_code_map_leads_to_one_standard_code(folder: Path, lines_: list[str], where: str) -> None:
    text = "local_code,standard_code,reviewer,reviewed_on\n" + "".join(f"{line},a,2026-01-01\n" for line in lines_)
    (folder / "code_maps" / "h01" / "sex.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ContractError, match=where):
        hospital_map(load_registry(folder).get("h01"), "sex")
    assert map_error(load_registry(folder).get("h01")) is not None
    assert map_error(load_registry(folder).get("h02")) is None


def test_an_empty_registry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="empty"):
        load_registry(tmp_path)


def test_a_hospital_that_is_not_there_is_named_with_its_remedy() -> None:
    with pytest.raises(UnknownHospital) as raised:
        load_registry().get("h77")
    assert raised.value.hospital == "h77"
    assert "hospitals/ of the registry" in raised.value.remedy


def test_one_more_hospital_is_one_file_and_its_code_maps(folder: Path, tmp_path: Path) -> None:
    """Nothing else changes: its first file lands at once, in a dialect that nobody had."""
    document = _document(folder / "hospitals" / "h03.yml") | {"id": "h39", "finess": "990000398", "name": "Hôpital 39"}
    document["dialects"] = {
        "export": {
            "encoding": "iso8859-15", "delimiter": ",", "decimal": ".", "date_formats": ["%Y%m%d"],
            "datetime_formats": ["%Y%m%d %H%M"],
        }
    }  # fmt: skip
    document["tables"] = {"stay": {"dialect": "export", "columns": {"VISITE": "stay_id", "SUJET": "patient_id"}}}
    _write(folder / "hospitals" / "h39.yml", document)
    shutil.copytree(folder / "code_maps" / "h03", folder / "code_maps" / "h39")
    hospital = load_registry(folder).get("h39")
    content = lines("VISITE,SUJET,admitted_at,stay_type,entry_mode", "V1,S1,20250301 1000,1,€")
    row = land(tmp_path, "stay", content, hospital=hospital).row
    assert row["hospital_id"] == "h39"
    assert row["stay_id"] == pseudonym("stay", "stay_id", "V1", hospital="h39")
    assert row["admitted_at_local"].isoformat() == "2025-03-01T10:00:00"
    assert row["entry_mode"] == "€"
