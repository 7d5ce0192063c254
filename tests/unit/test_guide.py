"""Guides and sample deliveries: made from contract and registry, in each hospital's dialect, and accepted by the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_landed import land_sample

from estuaire.base import errors
from estuaire.base.errors import explained_errors
from estuaire.base.settings import PROJECT_ROOT
from estuaire.contract.codes import code_systems, hospital_map
from estuaire.contract.manifest import parse_manifest
from estuaire.contract.registry import load_registry
from estuaire.contract.tables import load_contract
from estuaire.deliveries.guide import guide, readable, sample_delivery, write_guide

COMMITTED = PROJECT_ROOT / "docs" / "hospitals" / "h01"


def test_the_committed_example_is_what_the_generator_writes_today(tmp_path: Path) -> None:
    write_guide(load_registry().get("h01"), tmp_path)
    made = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    kept = {p.relative_to(COMMITTED): p.read_bytes() for p in COMMITTED.rglob("*") if p.is_file()}
    assert sorted(made) == sorted(kept)
    assert [str(p) for p in made if made[p] != kept[p]] == [], "run: estuaire guide h01 --out docs/hospitals/h01"


@pytest.mark.parametrize("hospital", ["h01", "h02", "h03", "h07", "h08", "h20"])
def test_the_sample_is_accepted_whole_with_every_table(hospital: str, tmp_path: Path) -> None:
    outcomes = land_sample(load_registry().get(hospital), tmp_path)
    assert set(outcomes) == set(load_contract().names)
    for table, outcome in outcomes.items():
        assert outcome.error is None, (table, outcome.error)
        assert 3 <= outcome.rows_out == outcome.rows_in <= 6, table
        assert outcome.extra_columns == []
        assert {rule: n for rule, n in outcome.checks.items() if n[1]} == {}, table


def test_every_hospitals_sample_has_a_valid_manifest_and_codes_that_lead_to_standard_ones() -> None:
    registry = load_registry()
    for hospital in registry.hospitals.values():
        sample = sample_delivery(hospital)
        raw = sample.manifest.to_json().encode()
        delivery = sample.manifest.delivery_id
        assert parse_manifest(raw, hospital=hospital.id, delivery=delivery, registry=registry) == sample.manifest
        for file in sample.manifest.files:
            dialect = hospital.dialects[file.dialect]
            if dialect.compression != "none":
                continue
            header, *records = sample.files[file.path].decode(dialect.encoding).splitlines()
            own = {v: k for k, v in hospital.columns_of(file.table).items()}
            places = header.split(dialect.delimiter)
            for column in load_contract().table(file.table).columns:
                if not column.code_system:
                    continue
                codes, known = code_systems()[column.code_system], hospital_map(hospital, column.code_system)
                # codes stand before or after a quoted label: count fields from the nearer end
                index = places.index(own.get(column.name, column.name))
                for record in records:
                    fields = record.split(dialect.delimiter)
                    if len(fields) != len(places) or fields[index] in dialect.null_values:
                        continue
                    value = fields[index]
                    assert codes.is_standard(value) or codes.normal(value) in known, (hospital.id, column.name, value)


def test_the_dialects_show_in_the_sample() -> None:
    registry = load_registry()
    h01, h03 = (sample_delivery(registry.get(h)).files for h in ("h01", "h03"))
    assert '"Ceftriaxone 1 g; poudre"' in h01["prescription.csv"].decode()
    assert ";0,5;" in h01["prescription.csv"].decode()
    assert h03["patient.csv"].startswith(b"\xef\xbb\xbfPATIENT\tDNAISS\tSEXE")
    assert b"03FEB1951" in h03["patient.csv"]
    assert b"NULL" in h03["patient.csv"]
    assert sample_delivery(registry.get("h02")).files["unit.csv.gz"][:2] == b"\x1f\x8b"


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("hospital", ["h01", "h02", "h08"])
def test_a_guide_holds_every_column_system_and_refusal(hospital: str, language: str) -> None:
    entry = load_registry().get(hospital)
    text = guide(entry, language)
    assert entry.finess in text
    assert entry.contact in text
    for table in load_contract().tables:
        own = {v: k for k, v in entry.columns_of(table.name).items()}
        assert f"### `{table.name}`" in text
        for column in table.columns:
            label = column.label_fr if language == "fr" else column.label_en
            assert f"| `{own.get(column.name, column.name)}`" in text
            assert label in text
            if column.code_system:
                assert f"### {column.code_system}\n" in text
    for code in explained_errors():
        assert f"`{code}`" in text
    for name in entry.dialects:
        assert f"`{name}`" in text


def test_the_errors_that_a_delivery_meets_are_explained() -> None:
    codes = set(explained_errors())
    for kind in (
        errors.ManifestMissing, errors.ManifestInvalid, errors.UnknownHospital, errors.ContractVersionUnknown,
        errors.PathOutsideDelivery, errors.FileMissing, errors.ChecksumMismatch, errors.DeliveryChanged,
        errors.FileTruncated, errors.ColumnMissing, errors.ColumnRetyped, errors.RowCountMismatch,
        errors.TooManyRejected, errors.GateBlocked, errors.FileNotExpected,
    ):  # fmt: skip
        assert kind.code in codes
    assert len(codes) == len(explained_errors())


def test_formats_are_written_for_people() -> None:
    assert readable("%d/%m/%Y %H:%M:%S", "fr") == "JJ/MM/AAAA hh:mm:ss"
    assert readable("%Y-%m-%dT%H:%M:%S%z", "en") == "YYYY-MM-DDThh:mm:ss±hh:mm"
    assert readable("%d%b%Y", "en") == "DDMMMYYYY"
