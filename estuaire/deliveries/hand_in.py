"""Prepares a folder of a hospital's files as a delivery and hands it in: files first, manifest last.

In landing the files stand in a folder named after their content (``by-content-<hash>/stay.csv``), which the manifest's paths name: two
attempts never write over each other's files, and none over those of a delivery that is committed.

Which table a file is: a folder's name (``<table>/anything.csv``), or the file's own (``<table>.csv``, ``<table>_anything.csv``,
``<table>-anything.csv``; the longest table name that fits; case is ignored; ``.csv``, ``.csv.gz`` or ``.parquet``). Hidden files and
``manifest.json`` are passed over; any other file is an error.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

import numpy as np

from estuaire.base import private_files
from estuaire.base.errors import (
    ChecksumMismatch,
    DeliveryChanged,
    EntryRefused,
    EstuaireError,
    FileMissing,
    FileNotExpected,
    ManifestInvalid,
    PathOutsideDelivery,
)
from estuaire.base.plain_files import open_plain
from estuaire.base.texts import say
from estuaire.contract.codes import code_systems, hospital_map, map_error
from estuaire.contract.manifest import (
    LANDING,
    MAX_BYTES,
    NAME,
    PATH_REMEDY,
    Manifest,
    ManifestFile,
    local_path,
    parse_manifest,
    read_bounded,
    safe_path,
)
from estuaire.contract.registry import Hospital, Registry
from estuaire.contract.tables import OPERATION_COLUMN, Contract, Table, load_contract
from estuaire.kernel import parquet_file
from estuaire.kernel.framing import REASONS
from estuaire.kernel.land_file import Judge, blocks_of
from estuaire.kernel.reading import TRUNCATION_ERRORS, DeliveredFile, Place
from estuaire.rules.rule_registry import load_rules
from estuaire.storage.object_store import ObjectStore, sha256_of, walk

SUFFIXES = (".csv.gz", ".csv", ".parquet")
_OUTSIDE_SHARE = 0.01  # of a file's dates: fewer are slips of the pen, which landing's rules judge
_SHOWN_CODES, _SHOWN_LETTERS = 3, 40  # of the codes without a standard one, in a note


@dataclass(frozen=True)
class Warned:
    """Something that the hospital should know and that stops nothing: the message ``note.<kind>``. ``detail`` holds names, counts and local codes, never a patient's
    value."""

    kind: str
    file: str
    detail: str = ""

    def text(self, language: str) -> str:
        said = say(language, f"note.{self.kind}", detail=self.detail)
        return say(language, "note.of_file", file=self.file, note=said) if self.file else said


@dataclass(frozen=True)
class Asked:
    """What the person who hands in decides; None means: derive it from landing.

    ``period`` is [from, to); ``kind`` is full or delta.
    """

    kind: str | None = None
    period: tuple[date, date] | None = None
    sequence: int | None = None
    delivery_id: str | None = None


@dataclass(frozen=True)
class Prepared:
    """A delivery that is ready: its manifest, where its files are, what to warn of.

    ``already`` says that landing holds the same delivery with the same bytes, ``present`` how: its manifest there.
    """

    hospital: Hospital
    manifest: Manifest
    folder: Path
    warnings: tuple[Warned, ...]
    already: bool
    present: Manifest | None = None


@dataclass(frozen=True)
class Receipt:
    """What was handed in. ``state`` is handed_in, unchanged (it was there with the same bytes) or prepared (nothing sent)."""

    state: str
    hospital: Hospital
    manifest: Manifest
    warnings: tuple[Warned, ...]
    at: datetime

    @property
    def rows(self) -> int:
        return sum(f.rows for f in self.manifest.files)

    @property
    def bytes(self) -> int:
        return sum(f.bytes for f in self.manifest.files)

    def as_dict(self, language: str = "en") -> dict[str, Any]:
        """For ``--receipt`` and ``--json``."""
        manifest = self.manifest
        return {
            "state": self.state,
            "hospital": self.hospital.id,
            "name": self.hospital.name,
            "finess": manifest.finess,
            "delivery": manifest.delivery_id,
            "sequence": manifest.sequence,
            "kind": manifest.kind,
            "period": {"from": manifest.period_from.isoformat(), "to": manifest.period_to.isoformat()},
            "contract_version": manifest.contract_version,
            "manifest_sha256": manifest.content_hash,
            "files": [asdict(f) for f in manifest.files],
            "total": {"files": len(manifest.files), "rows": self.rows, "bytes": self.bytes},
            "at": self.at.isoformat(timespec="seconds"),
            "warnings": [{**asdict(w), "text": w.text(language)} for w in self.warnings],
            "next": self.next_step(language),
        }

    def next_step(self, language: str) -> str:
        """One sentence: what happens now."""
        return say(language, f"deliver.next_{self.state}")


# ---------------------------------------------------------------- files


def table_of(path: PurePosixPath, names: Iterable[str]) -> str | None:
    """The table of a file by its path below the delivery folder (the rule stands in the module's docstring), or None."""
    suffix = next((s for s in SUFFIXES if path.name.casefold().endswith(s)), None)
    if suffix is None:
        return None
    words = path.parts[0].casefold() if len(path.parts) > 1 else path.name.casefold().removesuffix(suffix)
    fits = [n for n in names if words == n or (len(path.parts) == 1 and words.startswith((f"{n}_", f"{n}-")))]
    return max(fits, key=len, default=None)


def find_files(folder: Path, hospital: Hospital, contract: Contract) -> list[tuple[str, str]]:
    """(table, path) of each file of ``folder``, tables in delivery order.

    Raises:
        FileMissing: no folder, or no file in it.
        FileNotExpected: a file of no table that the hospital delivers; all are named, with what is expected.
        PathOutsideDelivery, EntryRefused: a link, or anything else that is no plain file.
    """
    if not folder.is_dir():
        raise FileMissing("there is no such folder", hospital=hospital.id, file=folder.name, remedy="name a folder")
    names = [n for n in contract.names if n in hospital.table_dialect]
    files: list[tuple[str, str]] = []
    strange: list[str] = []
    for name, _, why in walk(folder):
        inside = PurePosixPath(name)
        if any(part.startswith(".") for part in inside.parts) or str(inside) == NAME:
            continue
        if why:
            kind = PathOutsideDelivery if "link" in why else EntryRefused
            raise kind(f"it is {why}", hospital=hospital.id, file=name, remedy="deliver plain files, with simple names")
        if not safe_path(name):
            raise FileNotExpected(
                "the name of a file or folder holds characters that are not taken",
                hospital=hospital.id,
                file=name,
                remedy=PATH_REMEDY,
            )
        table = table_of(inside, names)
        if table is None:
            strange.append(str(inside))
        else:
            files.append((table, str(inside)))
    if strange:
        shown = ", ".join(strange[:5]) + (f" and {len(strange) - 5} more" if len(strange) > 5 else "")
        raise FileNotExpected(
            f"these files have the name of no table of this hospital: {shown}",
            hospital=hospital.id,
            remedy=f"name them <table>.csv, <table>_anything.csv(.gz), <table>.parquet or <table>/anything.csv(.gz), or take them out; "
            f"tables: {', '.join(names)}",
        )
    if not files:
        raise FileMissing(
            "the folder holds no file to deliver",
            hospital=hospital.id,
            remedy=f"put files there named after the tables: {', '.join(f'{n}.csv' for n in names)}",
        )
    return sorted(files, key=lambda f: (names.index(f[0]), f[1]))


def measure(
    folder: Path,
    path: str,
    table: Table,
    hospital: Hospital,
    *,
    delta: bool,
    codes: dict[str, Counter[str]],
    now: datetime,
) -> tuple[ManifestFile, list[Warned], Counter[date]]:
    """A file's entry of the manifest: sha256, bytes, and records as the kernel's framing counts them (damaged ones too); what to warn
    of, as the kernel judges the records of an extraction at ``now``; the records of each day of the table's period column. Into ``codes``
    go the local codes of each code system, with the records that bear them.

    Raises:
        ColumnMissing: its header lacks required columns.
        FileTruncated: its compression is not its dialect's, or it is cut short.
        EncodingMismatch: it is in another encoding than its dialect's.
        FileNotReadable, BeyondLimit, PathOutsideDelivery: it is no file of a dialect, too large, or no plain file.
    """
    dialect = hospital.dialects[hospital.table_dialect[table.name]]
    place = Place(hospital.id, "", path)
    warnings: list[Warned] = []
    rows = 0
    doubtful = 0
    damaged = np.zeros(len(REASONS), np.int64)
    coded = {c.name: c.code_system for c in table.columns if c.code_system and c.sensitivity == "plain"}
    with _opened(folder, path, place) as raw:
        delivered = DeliveredFile(raw, dialect, place)
        formats = parquet_file.rendered(dialect) if delivered.is_parquet else dialect
        try:
            header, blocks, watch = blocks_of(delivered, table, hospital, dialect, place)
            judge = Judge(table, header, formats, hospital, load_rules("landed")[table.name], now)
            for frame, read in blocks:
                rows += len(frame.record_number) + len(frame.damaged.record_number)
                doubtful += frame.doubtful
                damaged += np.bincount(frame.damaged.reason, minlength=len(REASONS))
                judge.block(frame, read)
                if watch is not None:
                    watch.damaged(int((frame.damaged.reason == REASONS.index("encoding")).sum()))
            if watch is not None:
                watch.check(place)
        except TRUNCATION_ERRORS:
            raise delivered.truncated() from None
        except EstuaireError as error:
            if error.file is None:
                place.of(error)
            raise
        sha256, size = delivered.measured()
    for name, system in coded.items():
        # a code of another classification, which the file names, is no code to be mapped
        if name in judge.codes and f"{system}_system" not in header.names:
            codes.setdefault(system, Counter()).update(judge.codes[name])
    if header.extra:
        warnings.append(Warned("extra_columns", path, ", ".join(header.extra)))
    if damaged.any():
        told = ", ".join(f"{reason} {n}" for reason, n in zip(REASONS, damaged, strict=True) if n)
        warnings.append(Warned("damaged", path, told))
    if doubtful:
        warnings.append(Warned("doubtful", path, str(doubtful)))
    if judge.set_aside:
        warnings.append(Warned("set_aside", path, ", ".join(f"{r} {n}" for r, n in sorted(judge.set_aside.items()))))
    if judge.twice:
        warnings.append(Warned("key_twice", path, str(judge.twice)))
    if delta and OPERATION_COLUMN not in header.names:
        warnings.append(Warned("no_operation", path))
    return ManifestFile(table.name, path, sha256, size, rows, dialect.name), warnings, judge.days


def _opened(folder: Path, path: str, place: Place) -> BinaryIO:
    try:
        return open_plain(folder / path)
    except EstuaireError as error:
        raise place.of(error) from None


def _unmapped(hospital: Hospital, codes: dict[str, Counter[str]]) -> list[Warned]:
    """One note per code system with local codes that lead to no standard one: how many records, of how many, and the most frequent."""
    notes = []
    for system, counted in sorted(codes.items()):
        known, described = hospital_map(hospital, system), code_systems()[system]
        missing = Counter(
            {
                c: n
                for c, n in counted.items()
                if described.normal(c) not in known and not described.is_standard(described.normal(c))
            }
        )
        if missing:
            frequent = sorted(missing.items(), key=lambda c: (-c[1], c[0]))[:_SHOWN_CODES]
            first = ", ".join(f"{code[:_SHOWN_LETTERS]} ({n})" for code, n in frequent)
            more = f" +{len(missing) - _SHOWN_CODES}" if len(missing) > _SHOWN_CODES else ""
            share = 100 * missing.total() / counted.total()
            notes.append(
                Warned(
                    "unmapped_codes", system, f"{missing.total()} / {counted.total()} ({share:.2f} %): {first}{more}"
                )
            )
    return notes


# ---------------------------------------------------------------- what landing holds


def handed_in(store: ObjectStore, registry: Registry, hospital: str) -> dict[str, Manifest | None]:
    """Committed deliveries of a hospital in landing, by id; None where the manifest cannot be read."""
    manifests: dict[str, Manifest | None] = {}
    for item in store.list(f"{LANDING}{hospital}/"):
        parts = item.key.split("/")
        if len(parts) == 4 and parts[3] == NAME:
            with store.open(item.key) as stream:
                try:
                    raw = read_bounded(stream, hospital=hospital, delivery=parts[2])
                    manifests[parts[2]] = parse_manifest(raw, hospital=hospital, delivery=parts[2], registry=registry)
                except EstuaireError:
                    manifests[parts[2]] = None
    return manifests


def _content(files: Iterable[ManifestFile]) -> list[tuple[str, str, str, int, str]]:
    return sorted((f.table, local_path(f.path), f.sha256, f.rows, f.dialect) for f in files)


def _beside(folder: Path, hospital: str, registry: Registry, files: list[ManifestFile]) -> Manifest | None:
    """The manifest that stands in the folder, if it describes exactly these files; one of other files is passed over."""
    path = folder / NAME
    if not path.is_file():
        return None
    raw = path.read_bytes()[:MAX_BYTES]
    try:
        delivery = str(json.loads(raw)["delivery_id"])
        manifest = parse_manifest(raw, hospital=hospital, delivery=delivery, registry=registry)
    except (ValueError, KeyError, TypeError, RecursionError, EstuaireError):
        return None
    return manifest if _content(manifest.files) == _content(files) else None


def _period(asked: Asked, kind: str, last: Manifest | None, today: date, hospital: str) -> tuple[date, date]:
    if asked.period:
        return asked.period
    if kind == "delta" and last and last.period_to < today:
        return last.period_to, today
    if kind == "delta" and last:
        raise ManifestInvalid(
            f"the last delivery ({last.delivery_id}) already covers the days up to {last.period_to}, which is not over",
            hospital=hospital,
            remedy=f"a correction of it repeats its period: --period {last.period_from} {last.period_to}",
        )
    raise ManifestInvalid(
        f"the period of {'a full' if kind == 'full' else 'this first'} delivery cannot be told from the deliveries before",
        hospital=hospital,
        remedy="give it: --period FIRST_DAY DAY_AFTER_THE_LAST, such as --period 2025-12-01 2026-01-01",
    )


def prepare(
    folder: Path, hospital: str, registry: Registry, store: ObjectStore, asked: Asked, *, now: datetime | None = None
) -> Prepared:
    """Measure and check a folder's files and write their manifest in memory; nothing is stored.

    What is not asked for comes from a manifest in the folder that describes these very files, else from landing: the next sequence,
    the id ``<sequence>-<kind>``, full for a first delivery and delta after, the period from the last one's end to today.
    The same files as the hospital's last delivery are that delivery again.

    Raises:
        UnknownHospital, FileMissing, FileNotExpected, FileTruncated, ColumnMissing, PathOutsideDelivery: see the parts.
        ManifestInvalid: no period can be told, it ends before it begins, or the sequence or id cannot be used.
        DeliveryChanged: landing holds this id with other bytes.
    """
    entry = registry.get(hospital)
    contract = load_contract()
    now = now or datetime.now(ZoneInfo(entry.timezone)).replace(microsecond=0)
    there = handed_in(store, registry, hospital)
    known = sorted((m for m in there.values() if m), key=lambda m: m.sequence)
    last = known[-1] if known else None
    kind = asked.kind or ("delta" if last else "full")
    files, warnings = [], []
    days: dict[str, Counter[date]] = {}
    codes: dict[str, Counter[str]] = {}
    for name, path in find_files(folder, entry, contract):
        file, said, days[path] = measure(
            folder, path, contract.table(name), entry, delta=kind == "delta", codes=codes, now=now
        )
        files.append(file)
        warnings += said
    same = there.get(asked.delivery_id or "") or _beside(folder, hospital, registry, files)
    if same is None and not asked.delivery_id and last and _content(last.files) == _content(files):
        same = last
    if same and _fits(same, asked):
        asked = Asked(same.kind, (same.period_from, same.period_to), same.sequence, same.delivery_id)
        kind, now = same.kind, same.extracted_at
        if kind == "full":
            warnings = [w for w in warnings if w.kind != "no_operation"]
    sequence = asked.sequence or (last.sequence + 1 if last else 1)
    period = _period(asked, kind, last, now.date(), hospital)
    drafted = Manifest(
        contract_version=contract.version,
        hospital=hospital,
        finess=entry.finess,
        delivery_id=asked.delivery_id or f"{sequence:04d}-{kind}",
        sequence=sequence,
        extracted_at=now,
        kind=kind,
        period_from=period[0],
        period_to=period[1],
        files=tuple(files),
    )
    # what an option can get wrong is told here as it would be after the upload
    manifest = parse_manifest(
        drafted.to_json().encode(), hospital=hospital, delivery=drafted.delivery_id, registry=registry
    )
    already = _already(there, manifest)
    for other in known:
        if other.sequence == manifest.sequence and other.delivery_id != manifest.delivery_id:
            raise ManifestInvalid(
                f"sequence {manifest.sequence} was used by another delivery of this hospital ({other.delivery_id})",
                hospital=hospital,
                delivery=manifest.delivery_id,
                file=NAME,
                remedy=f"number each delivery once, counting up; the next is {(last.sequence if last else 0) + 1}",
            )
    if last and manifest.sequence < last.sequence and not already:
        warnings.append(Warned("late_sequence", "", str(last.sequence)))
    absent = [n for n in contract.names if n in entry.table_dialect and n not in {f.table for f in files}]
    if kind == "full" and absent:
        warnings.append(Warned("tables_absent", "", ", ".join(absent)))
    if kind == "full":
        for path, counted in days.items():
            outside = sum(n for day, n in counted.items() if not period[0] <= day < period[1])
            if outside > _OUTSIDE_SHARE * counted.total():
                warnings.append(Warned("outside_period", path, f"{outside} / {counted.total()}"))
    wrong = map_error(entry)
    if wrong is not None:
        warnings.append(Warned("code_map", "", wrong.what))
    else:
        warnings += _unmapped(entry, codes)
    return Prepared(entry, manifest, folder, tuple(warnings), already, there[manifest.delivery_id] if already else None)


def _fits(manifest: Manifest, asked: Asked) -> bool:
    """Whether what was asked for says nothing else than the manifest."""
    given = (
        (asked.kind, manifest.kind),
        (asked.period, (manifest.period_from, manifest.period_to)),
        (asked.sequence, manifest.sequence),
        (asked.delivery_id, manifest.delivery_id),
    )
    return all(wanted is None or wanted == declared for wanted, declared in given)


def _already(there: dict[str, Manifest | None], manifest: Manifest) -> bool:
    """Whether landing holds this delivery with the same bytes and meaning (the time of extraction aside)."""
    if manifest.delivery_id not in there:
        return False
    present = there[manifest.delivery_id]
    if present is not None and _content(present.files) == _content(manifest.files):
        again = replace(manifest, extracted_at=present.extracted_at, files=present.files)
        if again.content_hash == present.content_hash:
            return True
    raise DeliveryChanged(
        "this delivery id was handed in before with other bytes; what is there stays, and nothing was written",
        hospital=manifest.hospital,
        delivery=manifest.delivery_id,
        remedy="hand in under a new --id with the next --sequence (or leave both out)",
    )


# ---------------------------------------------------------------- handing in


def stored(manifest: Manifest) -> Manifest:
    """The manifest as landing holds it: its files in a folder named after the content of all of them, in the same order."""
    text = json.dumps(_content(manifest.files))
    folder = f"by-content-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return replace(manifest, files=tuple(replace(f, path=f"{folder}/{local_path(f.path)}") for f in manifest.files))


def hand_in(prepared: Prepared, store: ObjectStore) -> Receipt:
    """Put the files, then the manifest, into landing; a delivery that is already there is left alone.

    An attempt that broke off before its manifest is simply done again. No file that landing holds is ever replaced by other bytes.

    Raises:
        ChecksumMismatch: a file changed since it was measured; the delivery is not committed.
        DeliveryChanged: someone else committed this id meanwhile with other bytes.
    """
    if prepared.already:
        return _receipt(replace(prepared, manifest=prepared.present or prepared.manifest), "unchanged")
    manifest = stored(prepared.manifest)
    prepared = replace(prepared, manifest=manifest)
    prefix = f"{LANDING}{manifest.hospital}/{manifest.delivery_id}/"
    state = "handed_in"
    if store.stat(prefix + NAME) is None:  # committed meanwhile: nothing of ours belongs beside it
        for file in manifest.files:
            _put(store, prefix, file, prepared)
    if not store.put_bytes(prefix + NAME, manifest.to_json().encode(), if_none_match=True):
        state = "unchanged"
        with store.open(prefix + NAME) as present:
            if present.read(MAX_BYTES) != manifest.to_json().encode():
                raise DeliveryChanged(
                    "someone else handed in this delivery id at the same time",
                    hospital=manifest.hospital,
                    delivery=manifest.delivery_id,
                    remedy="hand in again under a new --id",
                )
    return _receipt(prepared, state)


def _put(store: ObjectStore, prefix: str, file: ManifestFile, prepared: Prepared) -> None:
    """Put one file, unless an earlier attempt did; what then stands there is read back.

    Raises:
        ChecksumMismatch: it is not what was measured.
    """
    key = prefix + file.path
    if store.stat(key) is not None and sha256_of(store, key) == file.sha256:
        return
    store.put_file(key, prepared.folder / local_path(file.path))
    if sha256_of(store, key) != file.sha256:
        store.delete(key)
        raise ChecksumMismatch(
            "the file changed while it was handed in; the delivery is not committed",
            hospital=prepared.manifest.hospital,
            delivery=prepared.manifest.delivery_id,
            file=local_path(file.path),
            remedy="wait until the export is done, then hand in again",
        )


def write_manifest(prepared: Prepared) -> Receipt:
    """Write manifest.json beside the files and hand in nothing."""
    private_files.replace(prepared.folder / NAME, prepared.manifest.to_json())
    return _receipt(prepared, "prepared")


def _receipt(prepared: Prepared, state: str) -> Receipt:
    now = datetime.now(ZoneInfo(prepared.hospital.timezone))
    return Receipt(state, prepared.hospital, prepared.manifest, prepared.warnings, now)
