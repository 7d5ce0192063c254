"""What a delivered file is: each form that no dialect describes is named, a header is read as it was meant, a bomb is refused."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from one_file import H01_ADMINISTRATION, Landed, land, lines, pseudonym

from estuaire.base.errors import FileMissing, FileNotReadable, PathOutsideDelivery
from estuaire.kernel.limits import Limits
from estuaire.storage.object_store import DirectoryStore

NIR = "255081416802538"


def dose(id: str = "1", label: str = "Ceftriaxone", ipp: str = "77") -> str:
    return f"{id};{ipp};900;J01DD04;{label};1;g;IV;16/03/2025 08:00:00;F"


def told(landed: Landed) -> str:
    assert landed.error == "E_FILE_FORM"
    return str((landed.outcome.error or {})["what"])


_FILE = lines(H01_ADMINISTRATION, dose())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is empty"),
        (_FILE.encode("utf-16"), "UTF-16"),
        (_FILE.encode("utf-16-le"), "UTF-16"),
        (_FILE.encode("utf-16-be"), "UTF-16"),
        (_FILE.encode("utf-32-le"), "UTF-32"),
        (b"PK\x03\x04" + b"x" * 50, "workbook"),
        (b"\xd0\xcf\x11\xe0" + b"x" * 50, "Office"),
        (b"BZh91AY" + b"x" * 50, "bzip2"),
        (b"\n" + _FILE.encode(), "first line is blank"),
        (b"x" * (65 << 10), "first line is longer than 64 KiB"),
    ],
)
def test_a_file_that_no_dialect_describes_is_named(tmp_path: Path, data: bytes, said: str) -> None:
    assert said in told(land(tmp_path, "administration", data, rows=1))


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        (b"", "holds nothing"),
        (gzip.compress(b"a|b\n", mtime=0), "compressed twice"),
        (b"PK\x03\x04" + b"x" * 9, "no delimited text"),
    ],
)
def test_what_a_compressed_file_holds_is_named(tmp_path: Path, inside: bytes, said: str) -> None:
    assert said in told(land(tmp_path, "administration", gzip.compress(inside), hospital="h02", rows=1))


def test_a_line_break_in_a_quoted_header_belongs_to_its_name(tmp_path: Path) -> None:
    header = (
        H01_ADMINISTRATION.replace("dose_unit", '"dose_unit\n"').replace("IPP", '"IPP"').replace("status", '" status"')
    )
    header = header.replace(";route", ';"a\r\nb";route')
    landed = land(tmp_path, "administration", lines(header, dose().replace(";IV", ";x;IV"), "short"), rows=2)
    assert landed.row["dose_unit"] == "g"
    assert (landed.row["line_number"], landed.row["record_number"]) == (4, 1)
    assert landed.broken == [(5, "administration.record.fields")]
    assert landed.outcome.extra_columns == ["8"]


def test_a_stray_quote_in_a_header_takes_no_record_with_it(tmp_path: Path) -> None:
    landed = land(
        tmp_path, "administration", lines(H01_ADMINISTRATION + ';no"te', dose() + ";x", dose("2") + ';"y"'), rows=2
    )
    assert [r["administration_id"] for r in landed.rows] == ["1", "2"]


@pytest.mark.parametrize("first", [True, False])
def test_a_registered_name_wins_over_the_contracts(tmp_path: Path, first: bool) -> None:
    """h01's registry says that IPP is patient_id; its files may have a column patient_id of another meaning beside it."""
    header, record = (
        ("patient_id;" + H01_ADMINISTRATION, "row 1;" + dose())
        if first
        else (H01_ADMINISTRATION + ";patient_id", dose() + ";row 1")
    )
    landed = land(tmp_path, "administration", lines(header, record))
    assert landed.row["patient_id"] == pseudonym("administration", "patient_id", "77")
    assert landed.outcome.extra_columns == ["1" if first else "11"]


def test_the_contracts_name_alone_is_enough(tmp_path: Path) -> None:
    landed = land(tmp_path, "administration", lines(H01_ADMINISTRATION.replace("IPP", "Patient_ID"), dose()))
    assert landed.row["patient_id"] == pseudonym("administration", "patient_id", "77")


def test_no_name_of_a_header_is_repeated(tmp_path: Path) -> None:
    """Header and first record on one line: the names are a patient's values."""
    record = f"1;77;900;J01DD04;DUPONT {NIR};1;g;IV;16/03/2025 08:00:00;F"
    landed = land(tmp_path, "administration", f"{H01_ADMINISTRATION};{record}\n{dose()}{';' * 10}\n", rows=1)
    assert landed.outcome.extra_columns == [str(n) for n in range(11, 21)]
    glued = land(tmp_path, "administration", H01_ADMINISTRATION + record + "\n", rows=1)
    assert glued.error == "E_COLUMN_MISSING"
    for outcome in (landed.outcome, glued.outcome):
        assert "DUPONT" not in str(outcome)
        assert NIR not in str(outcome)


# ---------------------------------------------------------------- bombs


def limited(tmp_path: Path, data: bytes, hospital: str = "h01", **bounds: float) -> Landed:
    return land(
        tmp_path, "administration", data, hospital=hospital, rows=1, limits=Limits(**bounds), block_bytes=1 << 16
    )  # type: ignore[arg-type]


_H02 = b"administration_id|patient_id|stay_id|drug_code|drug_label|dose|dose_unit|route|given_at|status\n"


@pytest.mark.parametrize(
    ("data", "hospital", "bounds", "code", "said"),
    [
        (H01_ADMINISTRATION.encode() + b"\n" + b"x" * (1 << 20), "h01", {"line_bytes": 1 << 18}, "E_LIMIT", "line 2 is longer"),
        (gzip.compress(_H02 + b"x|\n" * (1 << 20), mtime=0), "h02", {"ratio_from": 1 << 20, "ratio": 100, "rejected": 1e9}, "E_LIMIT", "grows more than 100 times"),
        (gzip.compress(_H02 + b"x|\n" * (1 << 20), mtime=0), "h02", {"decompressed_bytes": 1 << 20, "rejected": 1e9}, "E_LIMIT", "holds more than 1 MiB"),
        (H01_ADMINISTRATION.encode() + b"\n" + b"x\n" * (1 << 18), "h01", {"rejected": 1000}, "E_REJECTED_RATE", "more than 1000 records"),
        (_FILE.encode(), "h01", {"seconds": -1.0}, "E_LIMIT", "takes longer"),
    ],
    ids=["a line", "growth", "size", "rejected records", "time"],
)  # fmt: skip
def test_a_bomb_is_refused_by_name(
    tmp_path: Path, data: bytes, hospital: str, bounds: dict[str, float], code: str, said: str
) -> None:
    landed = limited(tmp_path, data, hospital, **bounds)
    assert landed.error == code
    assert said in (landed.outcome.error or {})["what"]
    assert (landed.outcome.error or {})["file"] == "administration.csv"
    assert list(tmp_path.glob("*.parquet")) == []


def test_a_bomb_of_gzip_is_read_no_further_than_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """163 kB of gzip took 675 MiB of memory."""
    read = []
    original = gzip.GzipFile.read

    def counted(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        found = original(self, size)
        read.append(len(found))
        return found

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    bomb = gzip.compress(_H02 + b"\x20" * (64 << 20))
    assert limited(tmp_path, bomb, "h02", ratio_from=1 << 20).error == "E_LIMIT"
    assert sum(read) < 32 << 20
    assert max(read) <= 1 << 16


def test_many_empty_members_of_gzip_are_read(tmp_path: Path) -> None:
    data = (
        gzip.compress(_H02)
        + gzip.compress(b"") * 2000
        + gzip.compress(b"1|77|9|X|y|1|G|IV|2025-01-01T00:00:00|completed\n")
    )
    assert len(land(tmp_path, "administration", data, hospital="h02", rows=1).rows) == 1


def test_rejected_records_are_written_block_by_block(tmp_path: Path) -> None:
    body = "".join(dose(str(i), label='x "y') + "\n" for i in range(900))
    landed = land(
        tmp_path, "administration", f"{H01_ADMINISTRATION}\n{body}{dose('900')}\n", rows=901, block_bytes=5000
    )
    assert [r["record_number"] for r in landed.rejects] == list(range(1, 901))
    assert landed.outcome.rows_unparseable == 900


# ---------------------------------------------------------------- plain files


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_only_plain_files_are_opened(tmp_path: Path, kind: str) -> None:
    """A pipe in a file's place hung landing for ever."""
    store = DirectoryStore(tmp_path)
    folder = tmp_path / "landing/h01/d1"
    folder.mkdir(parents=True)
    (folder / "other.csv").write_text("x")
    if kind == "pipe":
        os.mkfifo(folder / "administration.csv")
    else:
        (folder / "administration.csv").symlink_to(folder / "other.csv")
    with pytest.raises(FileMissing if kind == "pipe" else PathOutsideDelivery):
        store.open("landing/h01/d1/administration.csv")
    with pytest.raises(FileNotReadable if kind == "pipe" else PathOutsideDelivery):
        store.put_file("landing/h01/d2/administration.csv", folder / "administration.csv")
    with pytest.raises(FileMissing):
        store.open("landing/h01/d1")
