"""The deliveries of a landing folder as a plain program is given them: where each file lies, and how its columns are called and written."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from estuaire.contract.manifest import Manifest, ManifestFile, parse_manifest
from estuaire.contract.registry import Dialect, Hospital, load_registry
from estuaire.contract.tables import Table, load_contract
from estuaire.kernel.reading import Place, header_of


@dataclass(frozen=True)
class Source:
    """One delivered file."""

    path: Path
    manifest: Manifest
    file: ManifestFile
    table: Table
    hospital: Hospital
    dialect: Dialect

    def text(self) -> bytes:
        """What the file holds, decompressed and in UTF-8."""
        data = self.path.read_bytes()
        if self.dialect.compression == "gzip":
            data = gzip.decompress(data)
        data = data.removeprefix(codecs.BOM_UTF8)
        return (
            data
            if self.dialect.encoding.startswith("utf-8")
            else data.decode(self.dialect.encoding, "replace").encode()
        )

    def names(self, data: bytes) -> list[str]:
        """The contract's names of its columns; of a column outside the contract a name of its own."""
        line = data[: data.index(b"\n")].decode().rstrip("\r")
        delivered = next(csv.reader(io.StringIO(line), delimiter=self.dialect.delimiter))
        place = Place(self.hospital.id, self.manifest.delivery_id, self.file.path)
        header = header_of(delivered, table=self.table, hospital=self.hospital, place=place)
        return [name or f"_extra_{n}" for n, name in enumerate(header.names)]


def sources(landing: Path, hospital_id: str) -> Iterator[Source]:
    """Every file of a hospital, by sequence. A delivery whose repetition has its sequence comes as often as it was sent."""
    registry, contract = load_registry(), load_contract()
    hospital = registry.get(hospital_id)
    manifests = []
    for folder in sorted((landing / hospital_id).iterdir()):
        raw = (folder / "manifest.json").read_bytes()
        manifests.append(parse_manifest(raw, hospital=hospital_id, delivery=folder.name, registry=registry))
    for manifest in sorted(manifests, key=lambda m: (m.sequence, m.delivery_id)):
        for file in manifest.files:
            path = landing / hospital_id / manifest.delivery_id / file.path
            yield Source(path, manifest, file, contract.table(file.table), hospital, hospital.dialects[file.dialect])
