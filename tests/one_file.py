"""Lands one small file written in a test: text in, outcome, rows and rejects out."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from estuaire.contract.manifest import Manifest, ManifestFile
from estuaire.contract.registry import Hospital, load_registry
from estuaire.contract.tables import load_contract
from estuaire.kernel.framing import BLOCK_BYTES
from estuaire.kernel.identity import Pseudonymiser
from estuaire.kernel.land_file import FileOutcome, land_file
from estuaire.kernel.limits import LIMITS, Limits
from estuaire.rules.rule_registry import load_rules

KEY = b"a secret of the tests"
_UNIQUE = itertools.count()

# header lines as each hospital writes them, columns in contract order
H01_ADMINISTRATION = "administration_id;IPP;NDA;drug_code;drug_label;dose;dose_unit;route;given_at;status"
H01_STAY = "NDA;IPP;DATE_ENTREE;DATE_SORTIE;stay_type;entry_mode;exit_mode;legal_finess;geographic_finess"
H01_PATIENT = (
    "IPP;DATE_NAISSANCE;SEXE;DATE_DECES;death_source;CODE_POSTAL;INS;upstream_pseudonym;pseudonym_authority;twin_rank"
)


@dataclass(frozen=True)
class Landed:
    outcome: FileOutcome
    rows: list[dict[str, Any]]
    rejects: list[dict[str, Any]]

    @property
    def error(self) -> str | None:
        return self.outcome.error["code"] if self.outcome.error else None

    @property
    def row(self) -> dict[str, Any]:
        """The only accepted record."""
        assert len(self.rows) == 1, (self.rows, self.rejects, self.outcome)
        return self.rows[0]

    @property
    def broken(self) -> list[tuple[int, str]]:
        """(physical line, rules) of each rejected record."""
        return [(r["line_number"], r["rule_ids"]) for r in self.rejects]


def pseudonym(table: str, column: str, value: str, *extra: str, hospital: str = "h01") -> str | None:
    return Pseudonymiser(KEY, hospital).one(load_contract().table(table).column(column), value, extra)


def lines(header: str, *records: str, end: str = "\n") -> str:
    return "".join(line + end for line in (header, *records))


def land(
    folder: Path,
    table: str,
    content: str | bytes,
    *,
    hospital: str | Hospital = "h01",
    delivery: str = "2025-10-full",
    sequence: int = 1,
    kind: str = "full",
    rows: int | None = None,
    sha256: str | None = None,
    size: int | None = None,
    path: str | None = None,
    block_bytes: int = BLOCK_BYTES,
    limits: Limits = LIMITS,
) -> Landed:
    """Land ``content`` (text is encoded and compressed as the hospital's dialect says) as a delivery's only file."""
    entry = load_registry().get(hospital) if isinstance(hospital, str) else hospital
    dialect = entry.dialects[entry.table_dialect[table]]
    data = content if isinstance(content, bytes) else content.encode(dialect.encoding)
    if dialect.compression == "gzip" and isinstance(content, str):
        data = gzip.compress(data, mtime=0)
    declared = len(str(content).splitlines()) - 1 if rows is None and isinstance(content, str) else rows or 0
    file = ManifestFile(
        table=table,
        path=path or f"{table}.csv",
        sha256=sha256 or hashlib.sha256(data).hexdigest(),
        bytes=len(data) if size is None else size,
        rows=declared,
        dialect=dialect.name,
    )
    manifest = Manifest(
        contract_version="1",
        hospital=entry.id,
        finess=entry.finess,
        delivery_id=delivery,
        sequence=sequence,
        extracted_at=datetime(2025, 11, 1, tzinfo=UTC),
        kind=kind,
        period_from=date(2021, 1, 1),
        period_to=date(2025, 11, 1),
        files=(file,),
    )
    name = f"{entry.id}-{delivery}-{table}-{next(_UNIQUE)}"
    outcome = land_file(
        lambda: io.BytesIO(data),
        manifest=manifest,
        file=file,
        table=load_contract().table(table),
        hospital=entry,
        rules=load_rules("landed")[table],
        key=KEY,
        output=folder / f"{name}.parquet",
        rejects=folder / f"{name}-rejects.parquet",
        block_bytes=block_bytes,
        limits=limits,
    )
    return Landed(outcome, _read(outcome.output), _read(outcome.rejects))


def _read(path: str | None) -> list[dict[str, Any]]:
    return pq.ParquetFile(path).read().to_pylist() if path else []
