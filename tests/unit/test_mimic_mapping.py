"""Hospital 38's own mapping: what becomes of each raw line, its balance, its refusals."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import mimic_world
import pytest

from estuaire.base.errors import SetupError
from estuaire.base.settings import PROJECT_ROOT, Settings, settings
from estuaire.contract.registry import load_registry
from estuaire.contract.tables import load_contract
from estuaire.deliveries.hand_in import Asked, hand_in, prepare
from estuaire.deliveries.real_data import check
from estuaire.storage.object_store import DirectoryStore
from examples.mimic_iv_demo import mapping, vocabulary
from examples.mimic_iv_demo.mapping import ListIncomplete, RawDataDamaged, RawDataMissing, Unbalanced, map_warehouse

REAL = settings().real_data_path
needs_real_data = pytest.mark.skipif(not (REAL / "hosp").is_dir(), reason="real data absent")


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> tuple[mapping.Balance, Path]:
    folder = tmp_path_factory.mktemp("mimic")
    delivery = folder / "delivery"
    return map_warehouse(mimic_world.write(folder / "raw"), delivery), delivery


def _fates(balance: mapping.Balance, file: str) -> tuple[dict[str, int], dict[str, int]]:
    [found] = [f for f in balance.files if f.file == file]
    return found.mapped, found.left_out


def test_every_raw_line_is_mapped_or_left_out_for_a_listed_reason(mapped: tuple[mapping.Balance, Path]) -> None:
    balance, _ = mapped
    lines = {name: len(lines) for name, (_, lines) in mimic_world.RAW.items()}
    assert {f.file: f.lines for f in balance.files} == lines
    assert balance.accounted == balance.lines == sum(lines.values())
    assert {reason for f in balance.files for reason in f.left_out} == set(mapping.reasons()), (
        "each reason has its line"
    )


def test_only_doses_really_given_one_an_event(mapped: tuple[mapping.Balance, Path]) -> None:
    balance, delivery = mapped
    assert _fates(balance, "emar") == (
        {"administration": 2},
        {
            "no_drug_named": 1,
            "not_given": 1,
            "dose_under_way": 1,
            "line_flushed": 1,
            "assessment": 1,
            "event_not_said": 1,
        },
    )
    first, second = mimic_world.table(delivery, "administration")
    # two products of one dose are one dose; the route is the charted one
    assert (first["drug_code"], float(first["dose"]), first["dose_unit"], first["route"]) == (
        "CEFTRIAXONE",
        1.0,
        "g",
        "IV",
    )
    # the oral form has an ATC code of its own; an amount that MIMIC took out is not half an amount
    assert (second["drug_code"], second["dose"], second["dose_unit"]) == ("METRONIDAZOLE (FLAGYL) (ORAL)", "", "")
    assert _fates(balance, "emar_detail") == ({"administration": 5}, {"event_left_out": 1, "says_no_dose": 1})


@pytest.mark.parametrize(
    ("charted", "ordered", "products", "expected"),
    [
        # a unit dose is 400/80 mg: an SS tablet, half a DS tablet, 10 mL of the cup, 80 mg of trimethoprim of the vial
        ("Sulfameth/Trimethoprim DS", None, ["1,TAB,TAB", "1,TAB,TAB"], (4.0, "{unit_dose}", "PO")),
        ("Sulfameth/Trimethoprim SS", None, ["1,TAB,TAB"], (1.0, "{unit_dose}", "PO")),
        ("Sulfameth/Trimethoprim DS", None, ["20,mL,UDCUP"], (2.0, "{unit_dose}", "")),
        (
            "Sulfamethoxazole-Trimethoprim",
            "Sulfamethoxazole-Trimethoprim,600,mg,IV",
            ["600,mg,mL"],
            (7.5, "{unit_dose}", "IV"),
        ),
        # the order of another drug does not say how this one was given; a capsule that is swallowed does, a bag does not
        ("Cephalexin", "Heparin,5000,UNIT,SC", ["250,mg,CAP"], (250.0, "mg", "PO")),
        ("Ampicillin-Sulbactam", "Heparin,5000,UNIT,SC", ["3,g,mL"], (3.0, "g", "")),
        ("Ampicillin-Sulbactam", "Ampicillin-Sulbactam,3,g,IV", ["3,g,mL"], (3.0, "g", "IV")),
        ("Tiotropium Bromide", None, ["18,mcg,CAP"], (18.0, "mcg", "")),
    ],
)
def test_amount_and_route_of_a_dose_as_far_as_the_chart_says(
    charted: str, ordered: str | None, products: list[str], expected: tuple[float, str, str], tmp_path: Path
) -> None:
    raw = mimic_world.write(
        tmp_path / "raw",
        prescriptions=(
            mimic_world.RAW["prescriptions"][0],
            [f"1,10,900,2150-03-01 12:00:00,2150-03-03 12:00:00,MAIN,{ordered}"] if ordered else [],
        ),
        emar=(mimic_world.RAW["emar"][0], [f"1,10,e1,1,900,2150-03-01 13:00:00,{charted},Administered"]),
        emar_detail=(mimic_world.RAW["emar_detail"][0], [f"1,e1,1.{n},{line}," for n, line in enumerate(products, 1)]),
    )
    map_warehouse(raw, tmp_path / "out")
    [dose] = mimic_world.table(tmp_path / "out", "administration")
    assert (float(dose["dose"]), dose["dose_unit"], dose["route"]) == expected


def test_a_passage_before_the_admission_counts_from_it_on(mapped: tuple[mapping.Balance, Path]) -> None:
    balance, delivery = mapped
    assert [(m["rank"], m["unit_code"], m["entered_at"]) for m in mimic_world.table(delivery, "movement")] == [
        ("1", "Emergency Department", "2150-03-01 10:00:00"),
        ("2", "Medicine", "2150-03-01 10:30:00"),
    ]
    assert _fates(balance, "transfers")[1] == {"discharge_event": 1, "before_admission": 1, "no_admission": 1}


def test_codes_name_their_system(mapped: tuple[mapping.Balance, Path]) -> None:
    _, delivery = mapped
    assert [(d["diagnosis_code"], d["diagnosis_system"], d["diagnosis_type"]) for d in mimic_world.table(delivery, "diagnosis")] == [
        ("A419", "icd10cm", "main"),
        ("4139", "icd9cm", "associated"),
    ]  # fmt: skip
    assert [p["procedure_system"] for p in mimic_world.table(delivery, "procedure")] == ["icd9cm", "icd10pcs"]


def test_microbiology_becomes_specimens_isolates_and_results(mapped: tuple[mapping.Balance, Path]) -> None:
    _, delivery = mapped
    assert [(s["specimen_id"], s["purpose"], s["collected_at"]) for s in mimic_world.table(delivery, "specimen")] == [
        ("s1", "diagnostic", "2150-03-01 11:00:00"),
        ("s2", "diagnostic", "2150-03-02 00:00:00"),  # the day alone is known
        ("s3", "screening", "2150-03-02 08:00:00"),
    ]
    assert [(i["specimen_id"], i["isolate_number"], i["organism_code"], i["status"]) for i in mimic_world.table(delivery, "isolate")] == [
        ("s1", "1", "ENTEROCOCCUS SP.", "final"),  # isolate_num 1, too: of another organism
        ("s1", "2", "ESCHERICHIA COLI", "final"),
        ("s2", "1", "CANCELLED", "cancelled"),
    ]  # fmt: skip
    [result] = mimic_world.table(delivery, "susceptibility")
    assert result == {
        "specimen_id": "s1", "isolate_number": "2", "drug_code": "CIPROFLOXACIN", "method": "mic", "operator": "=>", "value": "4",
        "category": "R", "guideline": "clsi",
    }  # fmt: skip


def test_laboratory_texts_survive_quotes_commas_and_newlines(mapped: tuple[mapping.Balance, Path]) -> None:
    _, delivery = mapped
    assert [(r["value"], r["value_text"]) for r in mimic_world.table(delivery, "lab_result")] == [
        ("4.100000", ""),
        ("", 'HEMOLYZED, "SLIGHT".\n'),
        ("", "GREATER THAN 10"),
    ]


def test_a_birth_date_is_the_year_that_the_age_gives_and_a_range_is_no_dose(
    mapped: tuple[mapping.Balance, Path],
) -> None:
    _, delivery = mapped
    assert mimic_world.table(delivery, "patient")[0]["birth_date"] == "2090-01-01"
    ordered = {p["prescription_id"]: p for p in mimic_world.table(delivery, "prescription")}
    assert set(ordered) == {"100", "102"}
    assert (ordered["102"]["dose"], ordered["102"]["dose_unit"]) == ("", "")


def test_it_is_a_delivery_that_the_platform_takes_and_takes_once(
    mapped: tuple[mapping.Balance, Path], tmp_path: Path
) -> None:
    balance, delivery = mapped
    store, registry = DirectoryStore(tmp_path), load_registry()
    asked = Asked(kind="full", period=balance.period)
    receipt = hand_in(prepare(delivery, "h38", registry, store, asked), store)
    assert (receipt.state, receipt.rows) == ("handed_in", sum(balance.rows.values()))
    assert [w.kind for w in receipt.warnings] == ["tables_absent"]
    assert hand_in(prepare(delivery, "h38", registry, store, asked), store).state == "unchanged"
    for table in mapping.TABLES:
        contract = load_contract().table(table)
        names = set(next(csv.reader((delivery / f"{table}.csv").open(encoding="utf-8"))))
        assert set(contract.required) <= names <= {c.name for c in contract.columns}


def test_the_same_raw_files_give_the_same_bytes(tmp_path: Path) -> None:
    raw = mimic_world.write(tmp_path / "raw")
    map_warehouse(raw, tmp_path / "a")
    map_warehouse(raw, tmp_path / "b")
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()} == {p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()}  # fmt: skip


# ------------------------------------------------------------------------------------------------ refusals


def test_no_folder_a_missing_file_and_a_file_without_fates_are_named(tmp_path: Path) -> None:
    with pytest.raises(RawDataMissing, match="no folder of raw files"):
        map_warehouse(tmp_path / "nowhere", tmp_path / "out")
    raw = mimic_world.write(tmp_path / "raw")
    (raw / "hosp" / "emar.csv.gz").unlink()
    with pytest.raises(RawDataMissing, match="missing: emar"):
        map_warehouse(raw, tmp_path / "out")
    raw = mimic_world.write(tmp_path / "raw", poe=("poe_id", ["1"]))
    with pytest.raises(ListIncomplete, match="poe"):
        map_warehouse(raw, tmp_path / "out")


def test_a_file_that_is_cut_short_or_lacks_a_column_is_named(tmp_path: Path) -> None:
    raw = mimic_world.write(tmp_path / "raw")
    path = raw / "hosp" / "labevents.csv.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(RawDataDamaged, match=r"labevents\.csv\.gz"):
        map_warehouse(raw, tmp_path / "out")
    raw = mimic_world.write(tmp_path / "raw", patients=("subject_id,anchor_age,anchor_year,dod", ["1,60,2150,"]))
    with pytest.raises(RawDataDamaged, match=r"patient\.sql.*a column"):
        map_warehouse(raw, tmp_path / "out")


def test_an_event_text_that_no_one_reviewed_stops_the_mapping_and_is_not_repeated(tmp_path: Path) -> None:
    header, lines = mimic_world.RAW["emar"]
    raw = mimic_world.write(
        tmp_path / "raw", emar=(header, [*lines, "1,10,e9,9,,2150-03-02 15:00:00,X,Given to Mrs Smith"])
    )
    with pytest.raises(ListIncomplete, match="1 events bear 1 texts") as raised:
        map_warehouse(raw, tmp_path / "out")
    assert "Smith" not in raised.value.sentence()


@pytest.mark.parametrize(
    ("file", "text", "where"),
    [
        ("fates/omr.sql", "select line, null as mapped_to, 'no_contract_table' as reason from omr where false", "1 records were counted, 0 have"),
        ("fates/omr.sql", "select line, null as mapped_to, null as reason from omr", "1 are neither"),
        ("fates/patients.sql", "select patients.line, 'patient' as mapped_to, null as reason from patients, admissions", "have several"),
        ("tables/stay.sql", "select hadm_id as stay_id from admissions limit 1", "1 rows were written where the mapped lines make 2"),
    ],
)  # fmt: skip
def test_a_lost_line_stops_the_mapping_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, where: str
) -> None:
    copy = tmp_path / "mapping"
    for path in mapping.HERE.rglob("*"):
        if path.suffix in (".sql", ".csv"):
            target = copy / path.relative_to(mapping.HERE)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (copy / file).write_text(text, encoding="utf-8")
    monkeypatch.setattr(mapping, "HERE", copy)
    with pytest.raises(Unbalanced, match=where):
        map_warehouse(mimic_world.write(tmp_path / "raw"), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_lists_are_reviewed_and_hold_no_text_twice() -> None:
    for path in sorted((mapping.HERE / "lists").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as rows:
            found = list(csv.DictReader(rows))
        first = next(iter(found[0]))
        key = [c for c in found[0] if c in (first, "dose_unit", "product_unit")]
        assert len({tuple(row[c] for c in key) for row in found}) == len(found), path.name
        assert path.stem == "reasons" or all(row["reviewer"] and row["reviewed_on"] for row in found), path.name


def test_the_demo_says_early_and_clearly_that_the_data_is_absent(tmp_path: Path) -> None:
    own = Settings(_env_file=None, home=tmp_path, real_data=tmp_path / "nowhere")
    with pytest.raises(SetupError, match=r"real data absent.*ESTUAIRE_REAL_DATA"):
        check(own)
    done = subprocess.run(
        [sys.executable, "-m", "examples.mimic_iv_demo", "--raw", str(tmp_path), "--out", str(tmp_path / "out")],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, "E_RAW_DATA_MISSING" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


# ------------------------------------------------------------------------------------------------ the real data


@needs_real_data
def test_the_real_data_balances_and_its_vocabularies_are_mapped(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.mimic_iv_demo", "--raw", str(REAL), "--out", str(tmp_path)],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "263,570 of 263,570 raw lines are accounted for." in done.stdout
    document = json.loads((tmp_path / "balance.json").read_text(encoding="utf-8"))
    for file in document["files"]:
        assert file["lines"] == sum(file["mapped"].values()) + sum(file["left_out"].values()), file["file"]
    shares = {s["what"]: s for s in document["vocabularies"]}
    assert shares["organism"]["percent"] >= 99
    assert shares[vocabulary.ANTIBACTERIALS]["percent"] >= 99
    assert shares["laboratory test"]["percent"] >= 60
    for share in shares.values():
        assert share["records"] == share["mapped"] + sum(share["unmapped"].values())
