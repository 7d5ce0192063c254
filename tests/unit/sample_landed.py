"""A hospital's sample delivery, landed as the landing job lands files; and which hospitals write files unlike each other's."""

from __future__ import annotations

import io
from pathlib import Path

from one_file import KEY

from estuaire.contract.registry import Hospital, load_registry
from estuaire.contract.tables import load_contract
from estuaire.deliveries.guide import sample_delivery
from estuaire.kernel.land_file import FileOutcome, land_file
from estuaire.rules.rule_registry import load_rules


def unlike_hospitals() -> list[str]:
    """Hospitals that between them write files in every way in which one does: each encoding, separator, decimal mark, compression, way of
    writing dates, times and nothing, time zone and calendar; with one dialect and with several, and with every set of tables."""
    known: set[object] = set()
    found = []
    for name, hospital in sorted(load_registry().hospitals.items()):
        dialects = [hospital.dialects[d] for d in sorted(set(hospital.table_dialect.values()))]
        ways: set[object] = {
            ("zone", hospital.timezone), ("calendar", hospital.calendar), ("dialects", len(dialects)), frozenset(hospital.table_dialect),
        }  # fmt: skip
        for d in dialects:
            ways |= {
                ("encoding", d.encoding), ("delimiter", d.delimiter), ("decimal", d.decimal), ("compression", d.compression),
                ("null", d.null_values), ("placeholders", d.placeholder_dates), *(("date", f) for f in d.date_formats),
                *(("time", f) for f in d.datetime_formats),
            }  # fmt: skip
        if ways - known:
            found.append(name)
        known |= ways
    return found


def land_sample(hospital: Hospital, folder: Path) -> dict[str, FileOutcome]:
    """Each file of a hospital's sample through the kernel, as the landing job does it."""
    sample = sample_delivery(hospital)
    return {
        file.table: land_file(
            lambda data=sample.files[file.path]: io.BytesIO(data),  # type: ignore[misc]
            manifest=sample.manifest,
            file=file,
            table=load_contract().table(file.table),
            hospital=hospital,
            rules=load_rules("landed")[file.table],
            key=KEY,
            output=folder / f"{file.table}.parquet",
            rejects=folder / f"{file.table}-rejects.parquet",
        )
        for file in sample.manifest.files
    }
