"""Deliveries of one hospital, fulls and deltas, written as records, landed and consolidated."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from one_file import land, lines

from estuaire.contract.registry import load_registry
from estuaire.contract.tables import load_contract
from estuaire.kernel.consolidate import Full, HospitalInput, Rejected, TableOutcome, consolidate_hospital

HEADERS = {
    "patient": "patient_id;birth_date;sex",
    "unit": "unit_code;valid_from;unit_type",
    "stay": "stay_id;patient_id;admitted_at;discharged_at;stay_type",
    "movement": "stay_id;rank;unit_code;entered_at",
    "diagnosis": "stay_id;rank;diagnosis_code;diagnosis_type",
    "specimen": "specimen_id;patient_id;nature;purpose;collected_at",
    "isolate": "specimen_id;isolate_number;organism_code;status",
    "susceptibility": "specimen_id;isolate_number;drug_code;category",
}
BOTH, LAST = (date(2023, 1, 1), date(2025, 1, 1)), (date(2024, 1, 1), date(2025, 1, 1))


def year_of(year: int, *numbers: int, patient: str = "p") -> dict[str, list[str]]:
    """Per number a patient, a stay with a diagnosis and a movement, a specimen with an isolate and a result, all in March."""
    tables: dict[str, list[str]] = {}
    for n in numbers:
        who, nda, sample, at = f"{patient}{n}", f"n{year}-{n}", f"x{year}-{n}", f"{n:02d}/03/{year} 10:00"
        for table, record in (
            ("patient", f"{who};01/02/1955;female"), ("stay", f"{nda};{who};{at};{at};full"), ("movement", f"{nda};1;u{year};{at}"),
            ("diagnosis", f"{nda};1;N390;main"), ("specimen", f"{sample};{who};blood;diagnostic;{at}"),
            ("isolate", f"{sample};1;B_ESCHR_COLI;final"), ("susceptibility", f"{sample};1;CTX;R"),
        ):  # fmt: skip
            tables.setdefault(table, []).append(record)
        tables["unit"] = [f"u{year};01/01/2020;medicine"]
    return tables


def both(*parts: dict[str, list[str]]) -> dict[str, list[str]]:
    return {
        t: list(dict.fromkeys(r for p in parts for r in p.get(t, []))) for t in HEADERS if any(t in p for p in parts)
    }


@dataclass
class World:
    folder: Path
    files: list[tuple[str, str]] = field(default_factory=list)
    fulls: list[Full] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    runs: int = 0

    def deliver(self, sequence: int, tables: dict[str, list[str]], period: tuple[date, date] | None = None) -> None:
        """A full delivery of the tables given where a period is, else a delta (``;delete`` behind a record deletes it)."""
        names = load_contract().names
        own = replace(
            load_registry().get("h01"), table_dialect=dict.fromkeys(names, "main"), table_columns={}, code_maps={}
        )
        for table, records in tables.items():
            header = HEADERS[table] if period else HEADERS[table] + ";op"
            rows = records if period else [r if r.endswith(";delete") else f"{r};upsert" for r in records]
            landed = land(
                self.folder, table, lines(header, *rows), hospital=own, delivery=f"d{sequence}", sequence=sequence,
                kind="full" if period else "delta",
            )  # fmt: skip
            assert landed.error is None
            if landed.outcome.output:
                self.files.append((table, landed.outcome.output))
            self.rejected += [Rejected(table, r["business_key"], sequence, None) for r in landed.rejects]
        if period:
            self.fulls.append(Full(sequence, *period, tuple(tables)))

    def consolidate(self, shuffle: random.Random | None = None) -> dict[str, TableOutcome]:
        files, fulls, rejected = list(self.files), list(self.fulls), list(self.rejected)
        if shuffle:
            shuffle.shuffle(files)
            shuffle.shuffle(fulls)
            shuffle.shuffle(rejected)
        by_table: dict[str, list[str]] = {}
        for table, path in files:
            by_table.setdefault(table, []).append(path)
        self.runs += 1
        given = HospitalInput(load_registry().get("h01"), by_table, fulls, rejected, datetime(2025, 1, 1, tzinfo=UTC))
        found = consolidate_hospital(given, load_contract(), lambda t: self.folder / f"out-{self.runs}-{t}.parquet")
        return {o.table: o for o in found}

    def rows(self, table: str) -> list[dict[str, Any]]:
        return pq.ParquetFile(str(self.consolidate()[table].output)).read().to_pylist()

    def counts(self) -> dict[str, int]:
        return {t: o.rows for t, o in self.consolidate().items()}
