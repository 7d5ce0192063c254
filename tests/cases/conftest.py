"""The public cases: small inputs that once failed, one test or more each, said by the case's number.

A test writes its input itself, so that it runs everywhere; where the folder of the cases is there (``ESTUAIRE_CASES``, default
../shared/cases beside the project), ``case_input`` also compares it with the published file, byte by byte.
"""

from __future__ import annotations

import gzip
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from one_file import Landed, land

from estuaire.base.settings import PROJECT_ROOT
from estuaire.contract.registry import Hospital, Registry, load_registry
from estuaire.contract.tables import load_contract
from estuaire.deliveries.hand_in import Asked, Prepared, prepare
from estuaire.kernel.consolidate import Full, HospitalInput, Rejected, TableOutcome, consolidate_hospital
from estuaire.storage.object_store import DirectoryStore

CASES = (PROJECT_ROOT / os.environ.get("ESTUAIRE_CASES", "../shared/cases")).resolve()
PERIOD = (date(2020, 1, 1), date(2026, 1, 1))


def _written_in(case: str, file: str, content: bytes) -> bytes:
    """``content``, which is the case's input as a test writes it."""
    published = CASES / case / file
    if CASES.is_dir():
        data = published.read_bytes()
        assert (gzip.decompress(data) if file.endswith(".gz") else data) == content, (
            f"{case}/{file} is not what the test writes"
        )
    return content


@pytest.fixture
def case_input() -> Callable[[str, str, str | bytes], bytes]:
    """``case_input("C01-two-digit-year", "stay.csv", text)`` gives the input's bytes (a gzip one's without its compression)."""

    def written(case: str, file: str, content: str | bytes) -> bytes:
        return _written_in(case, file, content.encode() if isinstance(content, str) else content)

    return written


@pytest.fixture
def land_case(tmp_path: Path) -> Callable[..., Landed]:
    """``land_case("administration", data, hospital="h01")``: the file landed alone by the kernel; ``.rows``, ``.broken``, ``.error``.
    ``data`` is not compressed: a gzip hospital's is here."""

    def landed(table: str, data: bytes, *, hospital: str | Hospital = "h01", **more: Any) -> Landed:
        entry = load_registry().get(hospital) if isinstance(hospital, str) else hospital
        packed = entry.dialects[entry.table_dialect[table]].compression == "gzip"
        counted = {"rows": max(0, len(data.splitlines()) - 1), **more}
        return land(tmp_path, table, gzip.compress(data, mtime=0) if packed else data, hospital=entry, **counted)

    return landed


@dataclass(frozen=True)
class Told:
    """What `estuaire deliver` says of a folder of files."""

    prepared: Prepared

    @property
    def kinds(self) -> list[str]:
        return [w.kind for w in self.prepared.warnings]

    def detail(self, kind: str) -> str:
        return "; ".join(w.detail for w in self.prepared.warnings if w.kind == kind)


@pytest.fixture
def deliver_case(tmp_path: Path) -> Callable[..., Told]:
    """``deliver_case({"stay.csv": data}, hospital="h01")``: what the hospital's check says, nothing handed in."""
    numbers = itertools.count()

    def told(
        files: dict[str, bytes],
        *,
        hospital: str | Hospital = "h01",
        kind: str = "full",
        period: tuple[date, date] = PERIOD,
        store: DirectoryStore | None = None,
    ) -> Told:
        registry = load_registry()
        if isinstance(hospital, Hospital):
            registry = Registry(registry.hospitals | {hospital.id: hospital})
        folder = tmp_path / f"export-{next(numbers)}"
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
        asked = Asked(kind=kind, period=period)
        store = store or DirectoryStore(tmp_path / "store")
        id = hospital if isinstance(hospital, str) else hospital.id
        return Told(prepare(folder, id, registry, store, asked, now=datetime(2026, 1, 1, 12, tzinfo=UTC)))

    return told


@dataclass
class CaseHospital:
    """Landed files of one hospital, one delivery after another, and what consolidating them gives."""

    folder: Path
    land: Callable[..., Landed]
    entry: Hospital
    files: list[tuple[str, str]] = field(default_factory=list)
    fulls: list[Full] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    stays_until: datetime | None = None
    runs: int = 0

    def deliver(self, sequence: int = 1, kind: str = "full", **tables: bytes) -> dict[str, Landed]:
        """Land the files of one delivery; a full one covers PERIOD."""
        landed = {}
        for table, data in tables.items():
            landed[table] = self.land(
                table, data, hospital=self.entry, delivery=f"d{sequence}", sequence=sequence, kind=kind
            )
            assert landed[table].error is None, landed[table].outcome.error
            if landed[table].outcome.output:
                self.files.append((table, landed[table].outcome.output))
        if kind == "full":
            self.fulls.append(Full(sequence, *PERIOD, tuple(tables)))
        return landed

    def consolidate(self) -> dict[str, TableOutcome]:
        self.runs += 1
        files: dict[str, list[str]] = {}
        for table, path in self.files:
            files.setdefault(table, []).append(path)
        target = self.folder / f"consolidated-{self.runs}"
        given = HospitalInput(self.entry, files, self.fulls, self.rejected, self.stays_until)
        outcomes = consolidate_hospital(given, load_contract(), lambda table: target / f"{table}.parquet")
        return {o.table: o for o in outcomes}

    def rows(self, table: str) -> list[dict[str, Any]]:
        output = self.consolidate()[table].output
        return pq.ParquetFile(output).read().to_pylist() if output else []


@pytest.fixture
def hospital_of_case(tmp_path: Path, land_case: Callable[..., Landed]) -> Callable[..., CaseHospital]:
    """``hospital_of_case("h01")``: then ``.deliver(1, stay=data)`` and ``.rows("stay")``, what is served of it."""

    def made(hospital: str | Hospital = "h01") -> CaseHospital:
        entry = load_registry().get(hospital) if isinstance(hospital, str) else hospital
        return CaseHospital(tmp_path, land_case, entry)

    return made
