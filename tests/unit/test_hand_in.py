"""`estuaire deliver`: which file is which table, what is measured, what landing then holds, and what is refused before writing."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path, PurePosixPath

import pytest
from sample_landed import unlike_hospitals
from typer.testing import CliRunner

from estuaire.base.errors import (
    ChecksumMismatch,
    ColumnMissing,
    DeliveryChanged,
    EntryRefused,
    EstuaireError,
    FileMissing,
    FileNotExpected,
    FileNotReadable,
    FileTruncated,
    ManifestInvalid,
    PathOutsideDelivery,
    UnknownHospital,
)
from estuaire.base.settings import settings
from estuaire.cli import build
from estuaire.contract.registry import FOLDER, load_registry
from estuaire.contract.tables import load_contract
from estuaire.deliveries.guide import sample_delivery, write_guide
from estuaire.deliveries.hand_in import (
    Asked,
    Prepared,
    Receipt,
    Warned,
    hand_in,
    prepare,
    stored,
    table_of,
    write_manifest,
)
from estuaire.deliveries.landing_scan import read_manifest
from estuaire.storage.object_store import DirectoryStore, sha256_of

MARCH = (date(2025, 3, 1), date(2025, 4, 1))
UNITS = "UF;valid_from;valid_to;LIBELLE_UF;unit_type;geographic_finess\n"
UNIT = "3101;01/01/2020;;Médecine;MED;990000013\n"


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "export"
    path.mkdir()
    (path / "unit.csv").write_text(UNITS + UNIT, encoding="utf-8")
    return path


def ready(folder: Path, store: DirectoryStore, asked: Asked | None = None, hospital: str = "h01") -> Prepared:
    return prepare(folder, hospital, load_registry(), store, asked or Asked(period=MARCH))


def deliver(folder: Path, store: DirectoryStore, asked: Asked | None = None, hospital: str = "h01") -> Receipt:
    return hand_in(ready(folder, store, asked, hospital), store)


def keys(store: DirectoryStore) -> list[str]:
    return [o.key for o in store.list("landing/")]


@pytest.mark.parametrize(
    ("path", "table"),
    [
        ("stay.csv", "stay"),
        ("STAY.CSV", "stay"),
        ("stay_2025_03.csv.gz", "stay"),
        ("stay-001.csv", "stay"),
        ("stay/part1.csv", "stay"),
        ("patient_merge.csv", "patient_merge"),
        ("patient_merge_2.csv", "patient_merge"),
        ("patient_2.csv", "patient"),
        ("stays.csv", None),
        ("stay.txt", None),
        ("notes.csv", None),
        ("other/stay.csv", None),
    ],
)
def test_a_files_name_tells_its_table(path: str, table: str | None) -> None:
    assert table_of(PurePosixPath(path), load_contract().names) == table


def test_a_first_delivery_is_full_and_the_manifest_describes_its_bytes(folder: Path, store: DirectoryStore) -> None:
    (folder / "unit").mkdir()
    # two records, one over two lines: lines are not records
    more = UNITS + '3205;01/01/2020;;"Réa\nnord";REA;990000013\n3310;01/01/2020;;Chir;CHIR;990000013\n'
    (folder / "unit" / "more.csv").write_text(more, encoding="utf-8")
    (folder / ".hidden").write_text("x", encoding="utf-8")
    receipt = deliver(folder, store)
    manifest = read_manifest(store, load_registry(), "h01", "0001-full")
    assert manifest == receipt.manifest
    assert (manifest.sequence, manifest.kind, manifest.finess) == (1, "full", "990000013")
    [place] = {f.path.split("/")[0] for f in manifest.files}
    assert [(f.table, f.path, f.rows, f.dialect) for f in manifest.files] == [
        ("unit", f"{place}/unit.csv", 1, "main"),
        ("unit", f"{place}/unit/more.csv", 2, "main"),
    ]
    data = (folder / "unit.csv").read_bytes()
    assert (manifest.files[0].sha256, manifest.files[0].bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert set(keys(store)) == {
        f"landing/h01/0001-full/{n}" for n in ("manifest.json", f"{place}/unit.csv", f"{place}/unit/more.csv")
    }
    assert (receipt.state, receipt.rows) == ("handed_in", 3)
    assert "tables_absent" in {w.kind for w in receipt.warnings}


def test_the_manifest_is_put_last(folder: Path, store: DirectoryStore) -> None:
    prepared = ready(folder, store)
    (folder / "unit.csv").write_text(UNITS, encoding="utf-8")  # the export goes on under our hands
    with pytest.raises(ChecksumMismatch):
        hand_in(prepared, store)
    assert keys(store) == []
    # what broke off is done again under the same id
    assert deliver(folder, store).manifest.delivery_id == "0001-full"


def test_a_second_hand_in_at_the_same_time_changes_nothing_of_the_first(folder: Path, store: DirectoryStore) -> None:
    """Both prepared before either was there: the second wrote over the first one's committed files, and only then met its manifest."""
    first = ready(folder, store)
    (folder / "unit.csv").write_text(UNITS + UNIT.replace("Médecine", "Chirurgie"), encoding="utf-8")
    second = ready(folder, store)
    (folder / "unit.csv").write_text(UNITS + UNIT, encoding="utf-8")
    assert hand_in(first, store).state == "handed_in"
    before = {o.key: o.version for o in store.list("landing/")}
    (folder / "unit.csv").write_text(UNITS + UNIT.replace("Médecine", "Chirurgie"), encoding="utf-8")
    with pytest.raises(DeliveryChanged):
        hand_in(second, store)
    assert {o.key: o.version for o in store.list("landing/")} == before
    manifest = read_manifest(store, load_registry(), "h01", "0001-full")
    assert sha256_of(store, f"landing/h01/0001-full/{manifest.files[0].path}") == manifest.files[0].sha256


def test_files_are_put_under_names_that_cannot_collide_whoever_comes_between(
    folder: Path, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ready(folder, store)
    (folder / "unit.csv").write_text(UNITS + UNIT.replace("Médecine", "Chirurgie"), encoding="utf-8")
    second = ready(folder, store)
    put = store.put_file

    def between(key: str, source: Path) -> None:
        monkeypatch.undo()
        own = (folder / "unit.csv").read_bytes()
        (folder / "unit.csv").write_text(UNITS + UNIT, encoding="utf-8")
        hand_in(first, store)  # committed while the second puts its files
        (folder / "unit.csv").write_bytes(own)
        put(key, source)

    monkeypatch.setattr(store, "put_file", between)
    with pytest.raises(DeliveryChanged):
        hand_in(second, store)
    manifest = read_manifest(store, load_registry(), "h01", "0001-full")
    assert manifest == stored(first.manifest)
    assert sha256_of(store, f"landing/h01/0001-full/{manifest.files[0].path}") == manifest.files[0].sha256


@pytest.mark.parametrize("kind", ["link out", "link within", "pipe", "not UTF-8", "accent"])
def test_only_plain_files_with_simple_names_are_handed_in(
    folder: Path, store: DirectoryStore, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "elsewhere.csv").write_text(UNITS + UNIT, encoding="utf-8")
    if kind == "link out":
        (folder / "unit_2.csv").symlink_to(tmp_path / "elsewhere.csv")
    elif kind == "link within":
        (folder / "unit_2.csv").symlink_to(folder / "unit.csv")
    elif kind == "pipe":
        os.mkfifo(folder / "unit_2.csv")
    elif kind == "not UTF-8":
        Path(os.fsdecode(os.fsencode(folder) + b"/unit_\xe9.csv")).write_bytes(b"x")
    else:
        (folder / "unit_été.csv").write_text(UNITS + UNIT, encoding="utf-8")
    expected = {"accent": FileNotExpected, "pipe": EntryRefused, "not UTF-8": EntryRefused}.get(
        kind, PathOutsideDelivery
    )
    with pytest.raises(expected):
        ready(folder, store)
    assert keys(store) == []


def test_the_next_delivery_is_a_delta_that_begins_where_the_last_ended(folder: Path, store: DirectoryStore) -> None:
    deliver(folder, store)
    (folder / "unit.csv").write_text(UNITS.strip() + ";op\n" + UNIT.strip() + ";delete\n", encoding="utf-8")
    receipt = deliver(folder, store, Asked())
    assert (receipt.manifest.delivery_id, receipt.manifest.sequence, receipt.manifest.kind) == (
        "0002-delta",
        2,
        "delta",
    )
    assert receipt.manifest.period_from == MARCH[1]
    assert receipt.warnings == ()


def test_a_correction_on_the_same_day_is_told_which_period_to_repeat(folder: Path, store: DirectoryStore) -> None:
    today = datetime.now(UTC).date()
    period = (date(2025, 3, 1), today + timedelta(days=1))
    deliver(folder, store, Asked(period=period))
    (folder / "unit.csv").write_text(UNITS + UNIT.replace("Médecine", "Chirurgie"), encoding="utf-8")
    with pytest.raises(ManifestInvalid, match=rf"--period {period[0]} {period[1]}") as raised:
        deliver(folder, store, Asked())
    assert "manifest.json" not in str(raised.value)
    assert deliver(folder, store, Asked(period=period)).manifest.sequence == 2


DATED = {"stay", "administration", "specimen", "movement"}
ELSEWHERE = Asked("full", (date(2019, 1, 1), date(2019, 7, 1)))


def told(prepared: Prepared) -> list[Warned]:
    return [w for w in prepared.warnings if w.kind == "outside_period"]


@pytest.mark.parametrize("hospital", sorted(load_registry().hospitals))
def test_a_period_that_is_not_the_files_is_told(hospital: str, store: DirectoryStore, folder: Path) -> None:
    """Of every hospital: its own columns and formats tell the dates."""
    (folder / "unit.csv").unlink()
    sample = sample_delivery(load_registry().get(hospital))
    for file in sample.manifest.files:
        if file.table in DATED:
            (folder / file.path).write_bytes(sample.files[file.path])
    wrong = told(ready(folder, store, ELSEWHERE, hospital))
    assert {w.file.partition(".")[0] for w in wrong} == DATED
    [stays] = [f.rows for f in sample.manifest.files if f.table == "stay"]
    assert [w.detail for w in wrong if w.file.startswith("stay")] == [f"{stays} / {stays}"]


@pytest.mark.parametrize("hospital", unlike_hospitals())
def test_the_files_own_period_is_not_told_nor_is_what_a_delta_corrects(
    hospital: str, store: DirectoryStore, folder: Path
) -> None:
    (folder / "unit.csv").unlink()
    sample = sample_delivery(load_registry().get(hospital))
    for name, data in sample.files.items():
        (folder / name).write_bytes(data)
    own = (sample.manifest.period_from, sample.manifest.period_to)
    assert told(ready(folder, store, Asked("full", own), hospital)) == []
    assert told(ready(folder, store, Asked("delta", ELSEWHERE.period), hospital)) == []


def test_a_wrong_code_map_is_told_when_the_delivery_is_prepared(
    folder: Path, store: DirectoryStore, tmp_path: Path
) -> None:
    own = tmp_path / "registry"
    for name in ("hospitals", "code_maps"):
        shutil.copytree(FOLDER / name, own / name)
    with (own / "code_maps" / "h01" / "organism.csv").open("a", encoding="utf-8") as file:
        file.write("KPN,B_KLBSL_PNMX,a,2026-01-01\n")
    prepared = prepare(folder, "h01", load_registry(own), store, Asked(period=MARCH))
    [warned] = [w for w in prepared.warnings if w.kind == "code_map"]
    assert "B_KLBSL_PNMX" in warned.text("fr")
    assert "h01/organism.csv line" in warned.text("en")
    assert [w for w in ready(folder, store).warnings if w.kind == "code_map"] == []


def test_the_same_bytes_again_do_nothing_and_say_so(folder: Path, store: DirectoryStore) -> None:
    first = deliver(folder, store)
    before = [(o.key, o.version) for o in store.list("landing/")]
    for asked in (Asked(), Asked(period=MARCH), Asked(delivery_id="0001-full"), Asked("full", MARCH, 1, "0001-full")):
        again = deliver(folder, store, asked)
        assert (again.state, again.manifest) == ("unchanged", first.manifest)
    assert [(o.key, o.version) for o in store.list("landing/")] == before


def test_the_same_id_with_other_bytes_is_refused_before_anything_is_written(
    folder: Path, store: DirectoryStore
) -> None:
    deliver(folder, store)
    before = [(o.key, o.version) for o in store.list("landing/")]
    (folder / "unit.csv").write_text(UNITS + UNIT + UNIT, encoding="utf-8")
    for asked in (Asked(delivery_id="0001-full"), Asked("delta", MARCH, 2, "0001-full")):
        with pytest.raises(DeliveryChanged, match="nothing was written"):
            deliver(folder, store, asked)
    assert [(o.key, o.version) for o in store.list("landing/")] == before


def test_a_sequence_is_used_once_and_a_late_one_is_told(folder: Path, store: DirectoryStore) -> None:
    deliver(folder, store, Asked(period=MARCH, sequence=5))
    (folder / "unit.csv").write_text(UNITS + UNIT + UNIT, encoding="utf-8")
    with pytest.raises(ManifestInvalid, match="the next is 6"):
        deliver(folder, store, Asked("delta", MARCH, 5, "other"))
    late = deliver(folder, store, Asked("delta", MARCH, 3))
    assert {w.kind for w in late.warnings} == {"late_sequence", "no_operation"}


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        (Asked(), "period"),
        (Asked(period=(MARCH[1], MARCH[0])), "period ends before"),
        (Asked(period=MARCH, delivery_id="../h02"), "delivery_id"),
    ],
)
def test_a_wrong_option_is_told_before_anything_is_written(
    folder: Path, store: DirectoryStore, asked: Asked, where: str
) -> None:
    with pytest.raises(ManifestInvalid, match=where):
        deliver(folder, store, asked)
    assert keys(store) == []


def test_files_of_no_table_are_named_with_what_is_expected(folder: Path, store: DirectoryStore) -> None:
    (folder / "notes.csv").write_text("x", encoding="utf-8")
    with pytest.raises(FileNotExpected, match=r"notes\.csv") as raised:
        deliver(folder, store)
    assert "susceptibility" in raised.value.remedy
    assert keys(store) == []


def test_an_empty_folder_an_absent_one_and_an_unknown_hospital(tmp_path: Path, store: DirectoryStore) -> None:
    with pytest.raises(FileMissing):
        ready(tmp_path / "nowhere", store)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileMissing, match="no file to deliver"):
        ready(tmp_path / "empty", store)
    with pytest.raises(UnknownHospital):
        ready(tmp_path / "empty", store, hospital="h99")


def test_a_missing_required_column_is_named_as_the_hospital_names_it(folder: Path, store: DirectoryStore) -> None:
    (folder / "unit.csv").write_text("valid_from;unit_type\n01/01/2020;MED\n", encoding="utf-8")
    with pytest.raises(ColumnMissing, match=r"unit_code \(UF\)"):
        deliver(folder, store)
    (folder / "unit.csv").write_bytes(b"")
    with pytest.raises(FileNotReadable, match="the file is empty"):
        deliver(folder, store)
    assert keys(store) == []


def test_extra_columns_and_damaged_records_are_warned_of(folder: Path, store: DirectoryStore) -> None:
    text = UNITS.strip() + ";COMMENTAIRE\n" + UNIT.strip() + ";x\n3;4\n"
    (folder / "unit.csv").write_text(text, encoding="utf-8")
    receipt = deliver(folder, store)
    assert receipt.manifest.files[0].rows == 2
    said = {w.kind: w.text("fr") for w in receipt.warnings}
    assert said["extra_columns"] == "unit.csv : colonnes hors contrat, ignorées (numéro dans le fichier) : 7"
    assert said["damaged"].endswith("fields 1")


def test_compression_is_the_dialects(folder: Path, store: DirectoryStore) -> None:
    data = (folder / "unit.csv").read_bytes()
    (folder / "unit.csv").write_bytes(gzip.compress(data))
    with pytest.raises(FileTruncated, match="is gzip"):
        deliver(folder, store)
    for name, content in sample_delivery(load_registry().get("h02")).files.items():
        (folder / name).write_bytes(content)
    (folder / "unit.csv").unlink()
    (folder / "unit.csv.gz").write_bytes((folder / "unit.csv.gz").read_bytes()[:-9])
    with pytest.raises(FileTruncated):
        deliver(folder, store, hospital="h02")


def test_prepare_only_writes_the_manifest_beside_the_files_and_deliver_takes_it_up(
    folder: Path, store: DirectoryStore
) -> None:
    asked = Asked(period=MARCH, delivery_id="mars", sequence=4)
    receipt = write_manifest(ready(folder, store, asked))
    assert receipt.state == "prepared"
    assert keys(store) == []
    assert json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["delivery_id"] == "mars"
    assert deliver(folder, store, Asked()).manifest == stored(receipt.manifest)
    # a manifest of other files is passed over
    (folder / "unit.csv").write_text(UNITS, encoding="utf-8")
    assert deliver(folder, store, Asked()).manifest.delivery_id == "0005-delta"


def test_no_refusal_and_no_receipt_shows_a_patients_value(folder: Path, store: DirectoryStore) -> None:
    # a file without a header line: its first record would pass for one
    (folder / "patient.csv").write_text("SECRET77;01/02/1955;f;;;75005;255081416802538;;;\n" * 3, encoding="utf-8")
    with pytest.raises(EstuaireError) as raised:
        deliver(folder, store)
    assert not [v for v in ("SECRET77", "255081416802538", "01/02/1955") if v in str(raised.value)]


@pytest.mark.parametrize(("lang", "word"), [("fr", "Livraison déposée"), ("en", "Delivery handed in")])
def test_the_command_prints_a_receipt_and_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lang: str, word: str
) -> None:
    monkeypatch.setenv("ESTUAIRE_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    try:
        write_guide(load_registry().get("h03"), tmp_path / "guide")
        place = tmp_path / "receipt.json"
        done = CliRunner().invoke(
            build(),
            [
                "deliver",
                str(tmp_path / "guide" / "sample"),
                "--hospital",
                "h03",
                "--lang",
                lang,
                "--receipt",
                str(place),
            ],
        )
    finally:
        settings.cache_clear()
    assert done.exit_code == 0, done.output
    assert word in done.output
    assert "estuaire run" in done.output
    receipt = json.loads(place.read_text(encoding="utf-8"))
    assert (receipt["finess"], receipt["state"], receipt["delivery"]) == ("990000039", "handed_in", "example-0001-full")
    assert receipt["total"]["rows"] == sum(f["rows"] for f in receipt["files"])
    landed = tmp_path / "home" / "store" / "landing" / "h03" / "example-0001-full"
    assert len([p for p in landed.rglob("*") if p.is_file()]) == len(receipt["files"]) + 1


def test_codes_without_a_standard_one_are_told_before_anything_is_sent(folder: Path, store: DirectoryStore) -> None:
    """`--prepare-only` said nothing of them: the hospital learnt it from its first run."""
    kinds = ("MED", "med ", "XXX9", "XXX9", "YYY", "", "ZZ1", "ZZ2")
    rows = "".join(f"{3101 + i};01/01/2020;;Salle;{kind};990000013\n" for i, kind in enumerate(kinds))
    (folder / "unit.csv").write_text(UNITS + rows, encoding="utf-8")
    prepared = ready(folder, store)
    [note] = [w for w in prepared.warnings if w.kind == "unmapped_codes"]
    # of seven records with a code five have none that is known; the most frequent codes stand first
    assert (note.file, note.detail) == ("unit_type", "5 / 7 (71.43 %): XXX9 (2), YYY (1), ZZ1 (1) +1")
    assert note.text("fr").startswith("unit_type : codes sans équivalent standard")
    assert write_manifest(prepared).as_dict()["warnings"]
    assert keys(store) == []
    (folder / "unit.csv").write_text(UNITS + UNIT, encoding="utf-8")
    assert "unmapped_codes" not in {w.kind for w in ready(folder, store).warnings}
