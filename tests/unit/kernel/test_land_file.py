"""One delivered file to typed Parquet: dialects, types, quarantine, accounting, and nothing nominative in what is written."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import random
from datetime import UTC, date, datetime
from decimal import Decimal
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from one_file import H01_ADMINISTRATION, H01_PATIENT, H01_STAY, Landed, land, lines, pseudonym

from estuaire.contract.layer_columns import landed_columns
from estuaire.contract.registry import Dialect
from estuaire.contract.tables import load_contract
from estuaire.kernel.framing import frames
from estuaire.kernel.identity import hash_sum, row_uids
from estuaire.kernel.land_file import _parse_slowly, parse
from estuaire.kernel.reading import Header

VALID_NIR = "255081416802538"


def dose(
    *, id: str = "1", ipp: str = "77", nda: str = "900", drug: str = "J01DD04", label: str = "Ceftriaxone", dose: str = "1,5",
    unit: str = "g", route: str = "IV", at: str = "16/03/2025 08:00:00", status: str = "F",
) -> str:  # fmt: skip
    """A record of h01's administration file."""
    return ";".join((id, ipp, nda, drug, label, dose, unit, route, at, status))


# ------------------------------------------------------------------------------------------------ dialects and types


def test_h01_semicolons_decimal_comma_french_dates(tmp_path: Path) -> None:
    row = land(tmp_path, "administration", lines(H01_ADMINISTRATION, dose(label="Céfazoline à 2 g", dose="43,69"))).row
    assert row["drug_label"] == "Céfazoline à 2 g"
    assert row["dose"] == Decimal("43.69")
    assert row["given_at_local"] == datetime(2025, 3, 16, 8)
    assert row["given_at"] == datetime(2025, 3, 16, 7, tzinfo=UTC)
    assert row["drug_code"] == "J01DD04"
    assert row["dose_unit"] == "g"
    assert row["patient_id"] == pseudonym("administration", "patient_id", "77")
    assert row["stay_id"] == pseudonym("administration", "stay_id", "900")
    assert (row["hospital_id"], row["delivery_id"], row["sequence"], row["source_file"]) == (
        "h01", "2025-10-full", 1, "administration.csv",
    )  # fmt: skip
    assert (row["record_number"], row["line_number"], row["op"], row["flags"]) == (1, 2, "upsert", None)


def test_h01_minutes_without_seconds_are_read_too(tmp_path: Path) -> None:
    row = land(tmp_path, "administration", lines(H01_ADMINISTRATION, dose(at="16/07/2025 08:05"))).row
    assert row["given_at"] == datetime(2025, 7, 16, 6, 5, tzinfo=UTC)


def test_h02_cp1252_pipes_gzip_offsets_padded_ucd(tmp_path: Path) -> None:
    header = "administration_id|patient_id|stay_id|drug_code|drug_label|dose|dose_unit|route|given_at|status"
    record = "1|77|900|0000009200000|Rocéphine 1 g œ €|43.69|G|20045000|2025-10-26T02:30:00+01:00|completed"
    row = land(tmp_path, "administration", lines(header, record), hospital="h02").row
    assert row["drug_label"] == "Rocéphine 1 g œ €"
    assert row["dose"] == Decimal("43.69")
    assert row["given_at"] == datetime(2025, 10, 26, 1, 30, tzinfo=UTC)
    assert row["given_at_local"] == datetime(2025, 10, 26, 2, 30)
    assert row["flags"] is None  # the offset says which of the two it is
    assert row["drug_code"] == "0000009200000"  # the hospital's own code: mapped later
    assert row["patient_id"] == pseudonym("administration", "patient_id", "77", hospital="h02")


def test_h03_byte_order_mark_tabs_sas_datetimes_null_written_out(tmp_path: Path) -> None:
    header = "ID_ADM\tpatient_id\tstay_id\tCODE_LOCAL\tLIBELLE\tdose\tdose_unit\troute\tgiven_at\tstatus"
    records = [
        "1\t77\tNULL\tMED0101\tÉrythromycine\t0,5\tgramme\torale\t01JAN2025:00:00:00\t1",
        '2\t77\t"NULL"\tMED0101\t\t0,5\tgramme\torale\t31DEC2024:23:59:59\t1',
    ]
    landed = land(tmp_path, "administration", lines(header, *records), hospital="h03")
    first, second = landed.rows
    assert first["administration_id"] == "1"  # the byte order mark is not part of the first column's name
    assert first["given_at_local"] == datetime(2025, 1, 1)
    assert first["drug_label"] == "Érythromycine"
    assert first["stay_id"] is None
    assert second["stay_id"] is None
    assert second["drug_label"] is None
    assert second["given_at"] == datetime(2024, 12, 31, 22, 59, 59, tzinfo=UTC)


def test_the_written_columns_are_the_landed_layers(tmp_path: Path) -> None:
    names = [c.name for c in landed_columns(load_contract().table("administration"))]
    assert sorted(land(tmp_path, "administration", lines(H01_ADMINISTRATION, dose())).row) == sorted(names)


def test_patient_dates_integers_and_the_national_identifier(tmp_path: Path) -> None:
    content = lines(
        H01_PATIENT,
        f"77;01/02/1955;f;;;75005;{VALID_NIR};;;1",
        "78;01/02/1955;h;03/04/2024;hôpital;75005;255081416802537;;;",
        "79;29/02/2000;h;;;2A004;;AB12;ghu;",
    )
    first, wrong_key, upstream = land(tmp_path, "patient", content).rows
    assert first["birth_date"] == date(1955, 2, 1)
    assert first["twin_rank"] == 1
    assert first["national_id"] == pseudonym("patient", "national_id", VALID_NIR, "1")
    assert wrong_key["national_id"] is None
    assert wrong_key["flags"] == "patient.national_id.nir"  # kept, and said so
    assert upstream["upstream_pseudonym"] == pseudonym("patient", "upstream_pseudonym", "AB12", "ghu")
    assert upstream["postcode"] == "2A004"


@pytest.mark.parametrize("text", ["x", "1,5", "1.5", "0x1F", "1_0", "1e1", "99999999999999999999"])
def test_what_is_no_integer_is_quarantined_never_rounded(tmp_path: Path, text: str) -> None:
    landed = land(tmp_path, "patient", lines(H01_PATIENT, f"77;01/02/1955;f;;;75005;;;;{text}"))
    assert landed.broken == [(2, "patient.twin_rank.type")]


@pytest.mark.parametrize("text", [">24h", "1 amp", "2 x 500", "QSP", "1,2,3", "12,5 mg", "--1", "NaN", "inf", "1e30"])
def test_what_is_no_number_is_quarantined(tmp_path: Path, text: str) -> None:
    landed = land(tmp_path, "administration", lines(H01_ADMINISTRATION, dose(dose=text)))
    assert landed.broken == [(2, "administration.dose.type")]
    assert landed.outcome.rows_quarantined == 1


@pytest.mark.parametrize("text", ["inconnu", "32/13/2020 25:61", "0000-00-00", "20210230", "30/02/2025 10:00", ">24h"])
def test_what_is_no_time_is_quarantined(tmp_path: Path, text: str) -> None:
    landed = land(tmp_path, "administration", lines(H01_ADMINISTRATION, dose(at=text)))
    assert landed.broken == [(2, "administration.given_at.type")]  # one finding: not "required" as well


def test_the_hour_that_does_not_exist_is_quarantined_and_the_one_that_comes_twice_flagged(tmp_path: Path) -> None:
    content = lines(H01_ADMINISTRATION, dose(at="30/03/2025 02:30:00"), dose(id="2", at="26/10/2025 02:30:00"))
    landed = land(tmp_path, "administration", content)
    assert landed.broken == [(2, "administration.given_at.missing_hour")]
    assert landed.row["flags"] == "administration.given_at.repeated_hour"
    assert landed.row["given_at"] == datetime(2025, 10, 26, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("record", "rules", "columns"),
    [
        (dose(ipp=""), "administration.patient_id.required", "patient_id"),
        (dose(ipp="  "), "administration.patient_id.required", "patient_id"),
        (dose(id=""), "administration.administration_id.required", "administration_id"),
        (dose(dose="-1"), "administration.dose.positive", "dose"),
        (
            dose(ipp="", dose="x"),
            "administration.dose.type,administration.patient_id.required",
            "dose,patient_id",
        ),
    ],
)
def test_a_broken_rule_quarantines_and_names_rule_and_columns(
    tmp_path: Path, record: str, rules: str, columns: str
) -> None:
    landed = land(tmp_path, "administration", lines(H01_ADMINISTRATION, record, dose(id="2")))
    assert [(r["rule_ids"], r["columns"]) for r in landed.rejects] == [(rules, columns)]
    assert landed.row["administration_id"] == "2"


def test_a_warn_rule_flags_and_counts_but_keeps(tmp_path: Path) -> None:
    landed = land(tmp_path, "administration", lines(H01_ADMINISTRATION, dose(unit="", nda="")))
    assert landed.row["flags"] == "administration.dose.with_unit,administration.stay.known"
    assert landed.outcome.checks["administration.dose.with_unit"] == [1, 1, 1]


def test_a_reject_says_where_the_record_stands_and_which_key_it_had(tmp_path: Path) -> None:
    bad = dose(id="A2", dose="x", label='"Céf;\nazo"')
    content = lines(H01_ADMINISTRATION, dose(id="A1"), bad, dose(id="A3"))
    landed = land(tmp_path, "administration", content, rows=3)
    [reject] = landed.rejects
    assert (reject["record_number"], reject["line_number"], reject["disposition"]) == (2, 3, "quarantined")
    assert reject["business_key"] == "A2"
    start, length = reject["byte_offset"], reject["byte_length"]
    assert content.encode()[start : start + length] == bad.encode() + b"\n"
    assert [r["line_number"] for r in landed.rows] == [2, 5]


# ------------------------------------------------------------------------------------------------ operations of a delta

DELTA = H01_ADMINISTRATION + ";op;source_updated_at"


def test_a_deletion_needs_its_key_only(tmp_path: Path) -> None:
    content = lines(
        DELTA,
        "A1;;;;;;;;;;delete;02/11/2025 10:00:00",
        "A2;77;900;J01DD04;x;-1;g;IV;30/03/2025 02:30:00;F;DELETE;02/11/2025 10:00:00",
        "A3;77;;J01DD04;x;not a number;g;IV;unknown;F; Delete ;02/11/2025 10:00:00",
    )
    landed = land(tmp_path, "administration", content, kind="delta")
    assert [(r["administration_id"], r["op"]) for r in landed.rows] == [(k, "delete") for k in ("A1", "A2", "A3")]
    assert landed.rows[0]["source_updated_at"] == datetime(2025, 11, 2, 9, tzinfo=UTC)


def test_a_deletion_without_its_key_is_quarantined(tmp_path: Path) -> None:
    landed = land(tmp_path, "administration", lines(DELTA, ";77;;;;;;;;;delete;"), kind="delta")
    assert landed.broken == [(2, "administration.administration_id.required")]


def test_an_unknown_operation_is_quarantined_and_none_means_upsert(tmp_path: Path) -> None:
    content = lines(DELTA, dose(id="A1") + ";supprimer;", dose(id="A2") + ";;")
    landed = land(tmp_path, "administration", content, kind="delta")
    assert landed.broken == [(2, "administration.op.value")]
    assert landed.row["op"] == "upsert"
    assert landed.row["source_updated_at"] is None


# ------------------------------------------------------------------------------------------------ the file itself


def test_column_names_are_the_hospitals_own_whatever_their_case(tmp_path: Path) -> None:
    header = H01_STAY.replace("DATE_ENTREE", " date_Entree ")
    row = land(tmp_path, "stay", lines(header, "900;77;01/03/2025 10:00;;HC;8;8;;")).row
    assert row["admitted_at_local"] == datetime(2025, 3, 1, 10)


def test_extra_columns_are_listed_and_ignored(tmp_path: Path) -> None:
    header = "NOM;" + H01_ADMINISTRATION + ";COMMENTAIRE"
    landed = land(tmp_path, "administration", lines(header, "Dupont;" + dose() + ";rien"))
    assert landed.outcome.extra_columns == ["1", "12"]  # a name may be a value of a patient
    assert landed.error is None
    assert "Dupont" not in repr(landed.row)


def test_missing_optional_columns_are_nothing(tmp_path: Path) -> None:
    row = land(
        tmp_path, "administration", lines("administration_id;IPP;drug_code;given_at;status", "1;7;X;01/01/2025 00:00;F")
    ).row
    assert row["dose"] is None
    assert row["stay_id"] is None


def test_a_missing_required_column_blocks_the_file_and_is_named(tmp_path: Path) -> None:
    landed = land(tmp_path, "stay", lines("NDA;DATE_SORTIE", "900;"))
    assert landed.error == "E_COLUMN_MISSING"
    assert landed.outcome.error is not None
    assert "patient_id (ipp), admitted_at (date_entree), stay_type" in landed.outcome.error["what"].lower()
    assert landed.outcome.output is None


def test_an_empty_file_has_no_columns_and_a_header_alone_no_records(tmp_path: Path) -> None:
    assert land(tmp_path, "stay", b"").error == "E_FILE_FORM"
    landed = land(tmp_path, "stay", lines(H01_STAY))
    assert (landed.error, landed.outcome.rows_in, landed.outcome.output) == (None, 0, None)


def test_a_required_column_of_another_type_blocks_the_file(tmp_path: Path) -> None:
    records = [dose(id=str(i), at="2025-03-16T08:00:00") for i in range(30)]
    landed = land(tmp_path, "administration", lines(H01_ADMINISTRATION, *records))
    assert landed.error == "E_COLUMN_RETYPED"
    assert "given_at: 30 of 30" in (landed.outcome.error or {})["what"]
    assert list(tmp_path.glob("*.parquet")) == []


def test_a_few_values_of_another_type_do_not(tmp_path: Path) -> None:
    records = [dose(id=str(i), at="unknown" if i < 10 else "16/03/2025 08:00") for i in range(30)]
    landed = land(tmp_path, "administration", lines(H01_ADMINISTRATION, *records))
    assert (landed.error, len(landed.rows), len(landed.rejects)) == (None, 20, 10)


@pytest.mark.parametrize("declared", [{"sha256": "0" * 64}, {"size": 3}])
def test_other_bytes_than_declared_block_the_file(tmp_path: Path, declared: dict[str, object]) -> None:
    landed = land(tmp_path, "administration", lines(H01_ADMINISTRATION, dose()), **declared)  # type: ignore[arg-type]
    assert landed.error == "E_CHECKSUM"
    assert list(tmp_path.glob("*.parquet")) == []


def test_wrong_bytes_are_named_before_what_they_make_of_the_header(tmp_path: Path) -> None:
    assert land(tmp_path, "administration", b"garbage\n", sha256="0" * 64).error == "E_CHECKSUM"


@pytest.mark.parametrize("cut", [5, -4, -30])
def test_a_truncated_gzip_is_named_as_such(tmp_path: Path, cut: int) -> None:
    rng = random.Random(1)  # noqa: S311 - text that does not compress away
    header = "administration_id|patient_id|stay_id|drug_code|drug_label|dose|dose_unit|route|given_at|status"
    records = [f"{i}|{rng.random()}|9|X|y|1|G|IV|2025-01-01T00:00:00|completed" for i in range(200)]
    whole = gzip.compress(lines(header, *records).encode(), mtime=0)
    assert land(tmp_path, "administration", whole, hospital="h02", rows=200).error is None
    assert land(tmp_path, "administration", whole[:cut], hospital="h02", rows=200).error == "E_FILE_TRUNCATED"
    wrong_too = land(tmp_path, "administration", whole[:cut], hospital="h02", rows=200, sha256="0" * 64)
    assert wrong_too.error == "E_CHECKSUM"  # an upload that broke off: the bytes differ from the manifest's


def test_a_file_that_is_no_gzip_is_named_as_such(tmp_path: Path) -> None:
    assert land(tmp_path, "stay", b"stay_id|patient_id\n1|2\n", hospital="h02").error == "E_FILE_TRUNCATED"


def test_another_number_of_records_than_declared_blocks_the_file(tmp_path: Path) -> None:
    content = lines(H01_ADMINISTRATION, dose(), dose(id="2"))
    assert land(tmp_path, "administration", content, rows=3).error == "E_ROW_COUNT"
    assert land(tmp_path, "administration", content, rows=2).error is None


def test_a_damaged_record_does_not_make_the_count_wrong(tmp_path: Path) -> None:
    """A stray quote may hide how many records stood there: the count is not held against the file then."""
    content = lines(H01_ADMINISTRATION, dose(), dose(id="2", label='x "y'), dose(id="3"))
    landed = land(tmp_path, "administration", content, rows=7)
    assert landed.error is None
    assert landed.broken == [(3, "administration.record.quote")]
    assert landed.outcome.rows_unparseable == 1
    assert [r["administration_id"] for r in landed.rows] == ["1", "3"]


_PIECES = [
    b'"',
    b'""',
    b";",
    b"\n",
    b"\r\n",
    b"\r",
    b"\x00",
    b"\xff",
    b"a" * 40,
    b"NULL",
    b"'",
    b"\\",
    b"16/03/2025 08:00",
]


@pytest.mark.parametrize("seed", range(12))
def test_no_garbage_stops_the_platform_or_upsets_the_accounting(tmp_path: Path, seed: int) -> None:
    """Whatever a hospital sends: a typed error or a balanced account, never another exception (it would stop the others)."""
    rng = random.Random(seed)  # noqa: S311
    body = bytearray(lines(H01_ADMINISTRATION, *[dose(id=str(i)) for i in range(60)]).encode())
    for _ in range(rng.choice([1, 5, 60])):
        at = rng.randrange(len(H01_ADMINISTRATION), len(body))
        body[at : at + rng.randrange(4)] = b"".join(rng.choices(_PIECES, k=rng.randrange(1, 9)))
    landed = land(tmp_path, "administration", bytes(body), rows=60, block_bytes=rng.choice([100, 1000, 1 << 20]))
    if landed.error is None:
        _assert_balanced(landed)
        assert landed.outcome.rows_in >= 40
    else:
        assert landed.error == "E_ROW_COUNT"


_FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6) | st.sampled_from(
    ['"', "a;b", "\r\n", "\r", "x\ny", "", "NULL", " NULL ", "x" * 200_000]
)


@example([*[("", "", "")] * 5, (";", "\n", ";")], False)
@given(st.lists(st.tuples(_FIELD, _FIELD, _FIELD), min_size=1, max_size=6), st.booleans())
def test_the_tolerant_reader_reads_as_the_fast_one(rows: list[tuple[str, str, str]], quoted: bool) -> None:
    """The fast reader's refusal of a block changes nothing but the time."""
    text = io.StringIO(newline="")
    quoted |= any("\r" in value for row in rows for value in row)
    csv.writer(
        text, delimiter=";", lineterminator="\n", quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    ).writerows(rows)
    dialect = Dialect("d", "utf-8", ";", ",", ("%d",), ("%d",), null_values=("", "NULL"))
    header = Header(("a", None, "b"), ())
    [frame] = [
        f
        for f in frames(io.BytesIO(text.getvalue().encode()), delimiter=";", fields=3, encoding="utf-8", first_offset=0)
        if len(f.record_number)
    ]
    fast, slow = parse(frame, header, dialect), _parse_slowly(frame, header, dialect)
    assert fast.to_pydict() == slow.to_pydict()
    wanted = [None if r[0] in ("", "NULL") else r[0] for r in rows]
    if len(frame.damaged.record_number):  # records of two lines that may be stray quotes in two records as well
        assert any("\n" in value for row in rows for value in row)
        rest = iter(wanted)
        assert all(value in rest for value in fast.to_pydict()["a"])  # in their order
    else:
        assert fast.to_pydict()["a"] == wanted


def test_a_field_of_any_length_is_read(tmp_path: Path) -> None:
    """Longer than Python's csv reads by default, and with a carriage return, which the fast reader might refuse."""
    label = "x" * 200_000 + "\r\n" + "y" * 200_000
    row = land(tmp_path, "administration", lines(H01_ADMINISTRATION, dose(label=f'"{label}"')), rows=1).row
    assert row["drug_label"] == label


# ------------------------------------------------------------------------------------------------ accounting


def _assert_balanced(landed: Landed) -> None:
    outcome = landed.outcome
    hashes = [(r["row_uid_hi"], r["row_uid_lo"]) for r in landed.rows]
    assert outcome.rows_in == len(landed.rows) + outcome.rows_quarantined + outcome.rows_unparseable
    assert outcome.rows_out == len(landed.rows)
    assert outcome.hash_in == sum(a + b for a, b in hashes) + outcome.hash_quarantined + outcome.hash_unparseable
    for disposition, rows, total in (
        ("quarantined", outcome.rows_quarantined, outcome.hash_quarantined),
        ("unparseable", outcome.rows_unparseable, outcome.hash_unparseable),
    ):
        own = [r["row_uid_hi"] + r["row_uid_lo"] for r in landed.rejects if r["disposition"] == disposition]
        assert (len(own), sum(own)) == (rows, total)


def _mixed() -> str:
    records = [dose(id=str(i)) for i in range(500)]
    records[10] = dose(id="10", label='a "b')
    records[200] = dose(id="200", dose="x")
    records[201] = dose(id="201", ipp="")
    records[300] = "too;few"
    return lines(H01_ADMINISTRATION, *records)


def test_every_record_is_out_quarantined_or_unparseable_and_the_hash_sums_agree(tmp_path: Path) -> None:
    landed = land(tmp_path, "administration", _mixed())
    outcome = landed.outcome
    assert (outcome.rows_in, outcome.rows_out, outcome.rows_quarantined, outcome.rows_unparseable) == (500, 496, 2, 2)
    _assert_balanced(landed)
    numbers = np.arange(1, 501, dtype=np.int64)
    assert outcome.hash_in == hash_sum(*row_uids("h01", "2025-10-full", "administration.csv", numbers, numbers + 1))


@pytest.mark.parametrize("block_bytes", [700, 5000])
def test_the_block_size_changes_nothing(tmp_path: Path, block_bytes: int) -> None:
    whole, parts = (
        land(tmp_path, "administration", _mixed()),
        land(tmp_path, "administration", _mixed(), block_bytes=block_bytes),
    )
    assert parts.rows == whole.rows
    by_record = itemgetter("record_number")
    assert sorted(parts.rejects, key=by_record) == sorted(whole.rejects, key=by_record)
    assert parts.outcome.checks == whole.outcome.checks


# ------------------------------------------------------------------------------------------------ nothing nominative

CANARY_IPP, CANARY_NDA = "CANARYIPP7781", "CANARYNDA9034"
CANARY_NIR, CANARY_UPSTREAM = VALID_NIR, "CANARYUP5521"


def _traces(value: str) -> list[bytes]:
    forms = {value, value.upper(), value.lower(), value.capitalize()}
    found: list[bytes] = []
    for form in forms:
        raw = form.encode()
        found += [
            raw,
            base64.b64encode(raw).rstrip(b"=")[:-1],
            raw.hex().encode(),
            hashlib.sha256(raw).hexdigest()[:32].encode(),
            hashlib.sha256(raw).digest()[:16],
            hashlib.md5(raw).hexdigest().encode(),  # noqa: S324 - looked for, not used
            form[::-1].encode(),
        ]
    return found


def _uncompressed(path: str) -> bytes:
    """Everything that stands in a Parquet file: its own bytes, and its columns' values and statistics decompressed."""
    file = pq.ParquetFile(path)
    return Path(path).read_bytes() + repr(file.read().to_pylist()).encode() + repr(file.metadata.to_dict()).encode()


def test_no_identifier_stands_in_rows_rejects_or_outcome(tmp_path: Path) -> None:
    nir = f"{CANARY_NIR[:1]} {CANARY_NIR[1:]}"
    files = {
        "patient": lines(
            H01_PATIENT + ";EXTRA",
            f"{CANARY_IPP};01/02/1955;f;;;75005;{nir};{CANARY_UPSTREAM};ghu;;{CANARY_IPP}",
            f"{CANARY_IPP.lower()};not a date;f;;;75005;{CANARY_NIR};;;;x",
            f'{CANARY_IPP};"01/02/1955"x;f;;;75005;{CANARY_NIR};;;;{CANARY_NDA}',
            f"{CANARY_IPP};01/02/1955;;;;75005;{CANARY_NIR[:13]}99;;;;x",
        ),
        "stay": lines(
            H01_STAY,
            f"{CANARY_NDA};{CANARY_IPP};01/03/2025 10:00;;HC;8;8;;",
            f"{CANARY_NDA};{CANARY_IPP};{CANARY_IPP};;HC;8;8;;",
        ),
        "administration": lines(
            H01_ADMINISTRATION,
            dose(ipp=CANARY_IPP, nda=CANARY_NDA),
            dose(id="2", ipp=CANARY_IPP, nda=CANARY_NDA, dose="x"),
        ),
    }
    written = b""
    for table, content in files.items():
        landed = land(tmp_path, table, content)
        assert landed.rows
        assert landed.rejects
        assert landed.outcome.output
        assert landed.outcome.rejects
        written += _uncompressed(landed.outcome.output) + _uncompressed(landed.outcome.rejects)
        written += repr(landed.outcome.as_dict()).encode()
    assert str(pseudonym("patient", "patient_id", CANARY_IPP)).encode() in written  # the search sees values
    for canary in (CANARY_IPP, CANARY_NDA, CANARY_NIR, CANARY_UPSTREAM):
        for trace in _traces(canary):
            assert trace not in written, f"{canary}: {trace!r}"


def test_no_identifier_stands_in_an_error(tmp_path: Path) -> None:
    records = [f"{CANARY_NDA};{CANARY_IPP};{CANARY_IPP};;HC;8;8;;" for _ in range(30)]
    landed = land(tmp_path, "stay", lines(H01_STAY, *records))
    assert landed.error == "E_COLUMN_RETYPED"
    assert "CANARY" not in repr(landed.outcome.as_dict())
