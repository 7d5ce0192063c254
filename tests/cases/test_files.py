"""Public cases about files as a whole: lines, quotes, headers, forms, what must not leave landing/."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from one_file import H01_ADMINISTRATION, Landed

from estuaire.base.errors import EntryRefused, FileNotReadable

NIR = "255081416802538"
TIME = "16/03/2025 08:00:00"


def test_c07_a_file_of_lone_carriage_returns_is_read(
    case_input: Callable[..., bytes], land_case: Callable[..., Landed], deliver_case: Callable[..., Any]
) -> None:
    data = case_input(
        "C07-cr-only", "administration.csv", f"{H01_ADMINISTRATION}\r1;77;900;J01DD04;x;1;g;IV;{TIME};F\r"
    )
    assert land_case("administration", data).row["administration_id"] == "1"
    assert [f.rows for f in deliver_case({"administration.csv": data}).prepared.manifest.files] == [1]


def test_c11_two_stray_quotes_lose_their_own_lines_only(
    case_input: Callable[..., bytes], land_case: Callable[..., Landed], deliver_case: Callable[..., Any]
) -> None:
    lines = (
        H01_ADMINISTRATION, f'1;77;900;J01DD04;"perdu;1;g;IV;{TIME};F', f"2;78;901;J01DD04;x;1;g;IV;{TIME};F",
        '3;79;902;J01DD04;sonde 5";1;g;IV;17/03/2025 09:00:00;F', f"4;80;903;J01DD04;x;1;g;IV;{TIME};F",
    )  # fmt: skip
    data = case_input("C11-two-stray-quotes", "administration.csv", "".join(line + "\n" for line in lines))
    landed = land_case("administration", data)
    assert [r["administration_id"] for r in landed.rows] == ["2", "4"]
    assert landed.broken == [(2, "administration.record.quote"), (4, "administration.record.quote")]
    told = deliver_case({"administration.csv": data})
    assert [f.rows for f in told.prepared.manifest.files] == [4]
    assert told.detail("damaged") == "quote 2"


def test_c27_no_national_number_is_shown_to_who_delivers(deliver_case: Callable[..., Any]) -> None:
    """Of a code that no map knows the text is shown, of a header that is a record the columns' numbers."""
    data = f"{H01_ADMINISTRATION};{NIR}\n1;77;900;{NIR};x;1;g;IV;{TIME};F;\n2;77;900;LOCAL;x;1;g;IV;{TIME};F;\n"
    told = deliver_case({"administration.csv": data.encode()})
    assert told.detail("extra_columns") == "11"
    assert "LOCAL" in told.detail("unmapped_codes")
    assert NIR not in "".join(w.text("fr") + w.detail for w in told.prepared.warnings)


@pytest.mark.parametrize(
    ("data", "said"), [(b"", "is empty"), ("a;b\n".encode("utf-16"), "UTF-16"), (b"PK\x03\x04abc", "workbook")]
)
def test_b17_a_file_that_no_dialect_describes_is_named(
    deliver_case: Callable[..., Any], data: bytes, said: str
) -> None:
    with pytest.raises(FileNotReadable, match=said) as refused:
        deliver_case({"administration.csv": data})
    assert (refused.value.hospital, refused.value.file) == ("h01", "administration.csv")


def test_c28_a_pipe_in_a_files_place_is_refused(tmp_path: Path, deliver_case: Callable[..., Any]) -> None:
    folder = tmp_path / "export-0"
    folder.mkdir()
    os.mkfifo(folder / "administration.csv")
    with pytest.raises(EntryRefused, match="no plain file"):
        deliver_case({})
