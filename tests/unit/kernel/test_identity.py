"""Identities: a record's ``row_uid``, and the pseudonyms of direct identifiers."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estuaire.contract.tables import load_contract
from estuaire.kernel.identity import Pseudonymiser, hash_sum, nir_is_valid, row_uids

KEY = b"a secret of the tests"
PATIENT = load_contract().table("patient")
IPP, NIR = PATIENT.column("patient_id"), PATIENT.column("national_id")
UPSTREAM = PATIENT.column("upstream_pseudonym")
VALID_NIR = "255081416802538"  # the example that INSEE's own documents use


# ------------------------------------------------------------------------------------------------ row_uid


def test_no_two_records_of_a_file_share_a_row_uid() -> None:
    numbers = np.arange(1, 300_001, dtype=np.int64)
    hi, lo = row_uids("h01", "d1", "a.csv", numbers, numbers + 1)
    assert len(np.unique(hi)) == len(numbers)  # the high half alone tells them apart
    assert len(np.unique(lo)) == len(numbers)


@pytest.mark.parametrize("other", [("h02", "d1", "a.csv"), ("h01", "d2", "a.csv"), ("h01", "d1", "b.csv")])
def test_the_same_record_number_elsewhere_has_another_row_uid(other: tuple[str, str, str]) -> None:
    numbers = np.arange(1, 10_001, dtype=np.int64)
    hi, lo = row_uids("h01", "d1", "a.csv", numbers, numbers)
    other_hi, other_lo = row_uids(*other, numbers, numbers)
    assert not set(zip(hi, lo, strict=True)) & set(zip(other_hi, other_lo, strict=True))


def test_a_record_keeps_its_row_uid() -> None:
    """The accounting and every lake file rest on it: these values must never change."""
    hi, lo = row_uids("h01", "2025-10-full", "patient.csv", np.array([1, 2], np.int64), np.array([2, 4], np.int64))
    again = row_uids("h01", "2025-10-full", "patient.csv", np.array([2], np.int64), np.array([4], np.int64))
    assert (again[0][0], again[1][0]) == (hi[1], lo[1])
    moved = row_uids("h01", "2025-10-full", "patient.csv", np.array([2], np.int64), np.array([5], np.int64))
    assert moved[1][0] != lo[1], "the physical line is part of the identity"


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1)), max_size=30))
def test_the_hash_sum_is_exact(pairs: list[tuple[int, int]]) -> None:
    hi = np.array([p[0] for p in pairs], dtype=np.int64)
    lo = np.array([p[1] for p in pairs], dtype=np.int64)
    assert hash_sum(hi, lo) == sum(a + b for a, b in pairs)


# ------------------------------------------------------------------------------------------------ NIR


@pytest.mark.parametrize(
    ("nir", "valid"),
    [
        (VALID_NIR, True),
        ("255081416802537", False),
        ("25508141680253", False),  # 14 digits
        ("2550814168025380", False),  # 16
        ("", False),
        ("25508141680253x", False),
        ("٢55081416802538", False),  # a digit, but not an ASCII one
    ],
)
def test_the_key_of_a_nir_is_checked(nir: str, valid: bool) -> None:
    assert nir_is_valid(nir) is valid


@pytest.mark.parametrize(("department", "number"), [("2A", 19), ("2B", 18)])
def test_corsica_counts_as_19_or_18(department: str, number: int) -> None:
    key = 97 - int(f"18605{number}004012") % 97
    assert nir_is_valid(f"18605{department}004012{key:02d}")
    assert not nir_is_valid(f"18605{department}004012{(key % 97) + 1:02d}")
    other = 97 - int(f"18605{37 - number}004012") % 97
    assert not nir_is_valid(f"18605{department}004012{other:02d}")


def test_letters_elsewhere_than_in_corsicas_place_are_no_nir() -> None:
    assert not any(nir_is_valid(f"1860575002A12{key:02d}") for key in range(1, 98))


# ------------------------------------------------------------------------------------------------ pseudonyms


def _expected(*parts: str) -> str:
    return hmac.new(KEY, "\x1f".join(parts).encode(), hashlib.sha256).hexdigest()[:32]


def test_a_pseudonym_is_the_hmac_of_domain_scope_and_value() -> None:
    assert Pseudonymiser(KEY, "h01").one(IPP, "123456") == _expected("patient", "h01", "123456")
    assert Pseudonymiser(KEY, "h01").one(NIR, VALID_NIR, ("1",)) == _expected("national_id", "", VALID_NIR, "1")


def test_a_local_identifier_means_another_patient_in_another_hospital() -> None:
    assert Pseudonymiser(KEY, "h01").one(IPP, "123456") != Pseudonymiser(KEY, "h02").one(IPP, "123456")


def test_a_national_identifier_is_the_same_everywhere_but_for_twins_and_other_keys() -> None:
    here, there = Pseudonymiser(KEY, "h01"), Pseudonymiser(KEY, "h02")
    assert here.one(NIR, VALID_NIR, ("",)) == there.one(NIR, VALID_NIR, ("",))
    assert here.one(NIR, VALID_NIR, ("1",)) != here.one(NIR, VALID_NIR, ("2",))
    assert here.one(NIR, VALID_NIR, ("",)) != Pseudonymiser(b"another", "h01").one(NIR, VALID_NIR, ("",))


def test_the_same_upstream_pseudonym_of_two_authorities_is_two_people() -> None:
    one = Pseudonymiser(KEY, "h01")
    assert one.one(UPSTREAM, "AB12", ("ghu",)) != one.one(UPSTREAM, "AB12", ("chu",))


def test_spelling_does_not_matter_but_a_wrong_key_does() -> None:
    one = Pseudonymiser(KEY, "h01")
    assert one.one(NIR, " 2 55 08 14 168 025 38 ", ("",)) == one.one(NIR, VALID_NIR, ("",))
    assert one.one(IPP, "ab12") == one.one(IPP, "AB12")
    assert one.one(NIR, "255081416802537", ("",)) is None


def test_columns_keep_their_nulls_and_agree_with_single_values() -> None:
    one = Pseudonymiser(KEY, "h01")
    values = ["12", None, "12", "13"]
    assert one.array(IPP, pa.array(values, pa.string()), []).to_pylist() == [
        None if v is None else one.one(IPP, v) for v in values
    ]
    nirs = pa.array([VALID_NIR, VALID_NIR, None, "255081416802537"], pa.string())
    ranks = pa.array(["1", None, "1", "1"], pa.string())
    expected = [one.one(NIR, VALID_NIR, ("1",)), one.one(NIR, VALID_NIR, ("",)), None, None]
    assert one.array(NIR, nirs, [ranks]).to_pylist() == expected


@given(st.text(st.characters(codec="ascii", categories=["Lu", "Nd"]), min_size=4, max_size=20))
def test_nothing_of_the_identifier_stands_in_its_pseudonym(value: str) -> None:
    found = Pseudonymiser(KEY, "h01").one(IPP, value)
    assert found is not None
    assert len(found) == 32
    assert value not in found.upper() or len(value) < 8  # four to seven hex-like characters may meet by chance
    assert found != hashlib.sha256(value.encode()).hexdigest()[:32]


@pytest.mark.parametrize("key", [b"", b"k", b"k" * 64, b"k" * 65, b"k" * 300])
def test_many_at_once_are_the_librarys_hmac_of_each(key: bytes) -> None:
    identifiers = ["1234", " 12 34 ", "é-ab", "x" * 500, "12\u00a034"]
    for values in (pa.array(identifiers), pa.array(identifiers).dictionary_encode()):
        made = Pseudonymiser(key, "h01").array(IPP, values, [])
        assert made.to_pylist() == [
            hmac.digest(key, f"patient\x1fh01\x1f{''.join(v.split()).upper()}".encode(), hashlib.sha256).hex()[:32]
            for v in identifiers
        ]


def test_two_spellings_of_one_identifier_are_one_entry_of_the_dictionary() -> None:
    made = Pseudonymiser(KEY, "h01").array(IPP, pa.array(["ab1", "AB1", None, "ab 1"]).dictionary_encode(), [])
    assert len(made.dictionary) == 1
    assert made.indices.to_pylist() == [0, 0, None, 0]


@pytest.mark.parametrize("dictionary", [False, True])
def test_who_is_nobody_is_told_of_every_spelling(dictionary: bool) -> None:
    values = pa.array(["anonyme", "1234", "Inconnu ", None, "sans ipp"])
    pseudonymiser = Pseudonymiser(KEY, "h01")
    made = pseudonymiser.array(IPP, values.dictionary_encode() if dictionary else values, [])
    assert pc.fill_null(pseudonymiser.unknown(made), False).to_pylist() == [True, False, True, False, True]
