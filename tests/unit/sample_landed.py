"""A hospital's sample delivery, landed as the landing job lands files."""

from __future__ import annotations

import io
from pathlib import Path

from one_file import KEY

from estuaire.contract.registry import Hospital
from estuaire.contract.tables import load_contract
from estuaire.deliveries.guide import sample_delivery
from estuaire.kernel.land_file import FileOutcome, land_file
from estuaire.rules.rule_registry import load_rules


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
