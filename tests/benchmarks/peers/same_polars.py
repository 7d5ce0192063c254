"""Landing in Polars, with all that ours does: identities, types, pseudonyms, every rule, rejected records with their place, counts, accounts.

Written as column expressions over whole files; what an expression cannot read exactly is asked of ``same_texts``, each distinct text once. What several
records say together: ``same_polars_tables``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from estuaire.contract.tables import OPERATION_COLUMN, UPDATED_COLUMN, Column
from tests.benchmarks.peers import same_texts
from tests.benchmarks.peers.same_checks import (
    FIRST_UPDATE,
    KEY,
    LAST_UPDATE,
    Account,
    Check,
    Opened,
    Source,
    check_retyped,
    checks_of,
    ends,
    exact_sum,
    identifiers,
    labels,
    latest,
    opened,
    plain,
)
from tests.benchmarks.peers.same_records import Places, Refused

SPACES = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
MOMENT, CLOCK = pl.Datetime("us", "UTC"), pl.Datetime("us")
_TYPES: dict[str, Any] = {
    "string": pl.String, "code": pl.String, "integer": pl.Int64, "decimal": pl.Decimal(18, 6), "date": pl.Date, "datetime": MOMENT,
}  # fmt: skip
_NONE_BROKEN = pl.lit(False)
_SEEN: dict[tuple[str, str], dict[str, str | None]] = {}  # (domain, hospital) -> identifier -> pseudonym
REJECTS = {
    "record_number": pl.Int64, "line_number": pl.Int64, "byte_offset": pl.Int64, "byte_length": pl.Int64, "row_uid_hi": pl.Int64,
    "row_uid_lo": pl.Int64, "disposition": pl.String, "rule_ids": pl.String, "columns": pl.String, "business_key": pl.String,
    "source_updated_at": MOMENT,
}  # fmt: skip
_WIDTHS = {"%Y": 4, "%m": 2, "%d": 2, "%H": 2, "%M": 2, "%S": 2, "%b": 3}


@dataclass
class _Block:
    """A file's records as they are read: columns by name, and per mark of a check the records that it says."""

    columns: dict[str, pl.Series]
    marks: dict[str, pl.Series] = field(default_factory=dict)

    def mark(self, name: str, rows: pl.Series) -> None:
        rows = rows.fill_null(False)
        if rows.any():
            self.marks[name] = rows


def _replaced(values: pl.Series, where: pl.Series, change: Callable[[str], Any], kind: Any = pl.String) -> pl.Series:
    """Some texts of a column changed in Python, each distinct one once; null elsewhere."""
    distinct = values.filter(where).unique().drop_nulls().to_list()
    changed = pl.Series([change(text) for text in distinct], dtype=kind)
    return values.replace_strict(pl.Series(distinct, dtype=pl.String), changed, default=None, return_dtype=kind)


# ------------------------------------------------------------------------------------------------ texts


def _read(source: Source, file: Opened) -> dict[str, pl.Series]:
    """The delivered columns of the contract in their normal form."""
    names = file.column_names()
    if not len(file.records.sound.number):
        return {name: pl.Series(name, [], pl.String) for name in file.present}
    frame = pl.read_csv(
        file.records.text,
        separator=source.dialect.delimiter,
        has_header=False,
        new_columns=names,
        schema_overrides=dict.fromkeys(names, pl.String),
        infer_schema=False,
        null_values=list(source.dialect.null_values),
        columns=[n for n, name in enumerate(file.names) if name],
    )
    if frame.height != len(file.records.sound.number):
        raise AssertionError(f"{frame.height} records are read, {len(file.records.sound.number)} were cut")
    odd = frame.select(pl.all().str.contains(r"[^ -~]").any())
    free = labels(source.table)
    columns = {}
    for series in frame:
        if odd[series.name].any():
            where = series.str.contains(r"[^ -~]")
            label = series.name in free
            clean = _replaced(series, where, lambda t, label=label: _known(source, same_texts.normal(t, label=label)))
            series = clean.zip_with(where.fill_null(False), series)
        columns[series.name] = series
    return columns


def _known(source: Source, text: str) -> str | None:
    return None if text in source.dialect.null_values else text


def _trimmed(values: pl.Series) -> pl.Series:
    trimmed = values.str.strip_chars(SPACES)
    return trimmed.set(trimmed == "", None) if (trimmed == "").any() else trimmed


def _national(source: Source, texts: dict[str, pl.Series], block: _Block) -> None:
    for name in plain(source.table):
        if name in texts and (texts[name].str.len_bytes().max() or 0) >= 15:
            long = texts[name].filter(texts[name].str.len_bytes() >= 15).unique()
            like = long.filter(long.str.contains(same_texts.LIKE_A_NATIONAL_NUMBER)).drop_nulls()
            held = [text for text in like if same_texts.holds_national_number(text)]
            if held:
                block.mark(f"{name}__national", texts[name].is_in(held))


def _identifiers(source: Source, texts: dict[str, pl.Series], block: _Block) -> None:
    """Marks of identifiers that a spreadsheet wrote, and pseudonyms."""
    for name in identifiers(source.table) & set(texts):
        suspect = texts[name].str.contains(r"[eE][+-]|#")
        if suspect.any():
            distinct = texts[name].filter(suspect).unique().drop_nulls()
            spoilt = [text for text in distinct if same_texts.is_spoilt(text)]
            block.mark(f"{name}__spoilt", texts[name].is_in(spoilt))
    for column in source.table.columns:
        if column.pseudonym is not None and column.name in texts:
            block.columns[column.name] = _pseudonyms(source, column, texts, block)


def _pseudonyms(source: Source, column: Column, texts: dict[str, pl.Series], block: _Block) -> pl.Series:
    rule, written = column.pseudonym, texts[column.name]
    assert rule is not None
    scope = source.hospital.id if rule.scope == "hospital" else ""
    if rule.with_columns:
        return _pseudonyms_of_several(source, column, texts, block)
    distinct = written.unique().drop_nulls().to_list()
    known = _SEEN.setdefault((rule.domain, scope), {})
    for value in distinct:
        if value not in known:
            text = same_texts.identifier(value)
            wrong = rule.check == "nir" and not same_texts.is_national_number(text)
            known[value] = same_texts.pseudonym(KEY, rule.domain, scope, text) if text and not wrong else None
    block.mark(f"{column.name}__bad", written.is_in([v for v in distinct if known[v] is None and v.strip()]))
    if rule.domain == "patient":
        others = {same_texts.identifier(text) for text in source.hospital.unknown_patients}
        nobody = [v for v in distinct if same_texts.is_nobody(same_texts.identifier(v), others)]
        if nobody:
            block.mark(f"{column.name}__unknown", written.is_in(nobody))
    pseudonyms = pl.Series([known[v] for v in distinct], dtype=pl.String)
    return written.replace_strict(
        pl.Series(distinct, dtype=pl.String), pseudonyms, default=None, return_dtype=pl.String
    )


def _pseudonyms_of_several(source: Source, column: Column, texts: dict[str, pl.Series], block: _Block) -> pl.Series:
    """Of an identifier that is none without other columns: few records have one."""
    rule = column.pseudonym
    assert rule is not None
    scope = source.hospital.id if rule.scope == "hospital" else ""
    beside = [texts[n].to_list() if n in texts else None for n in rule.with_columns]
    pseudonyms: list[str | None] = []
    bad: list[bool] = []
    for row, value in enumerate(texts[column.name].to_list()):
        text = same_texts.identifier(value or "")
        others = [((column[row] if column else None) or "").strip() for column in beside]
        wrong = rule.check == "nir" and not same_texts.is_national_number(text)
        pseudonyms.append(same_texts.pseudonym(KEY, rule.domain, scope, text, *others) if text and not wrong else None)
        bad.append(bool(text) and wrong)
    block.mark(f"{column.name}__bad", pl.Series(bad, dtype=pl.Boolean))
    return pl.Series(pseudonyms, dtype=pl.String)


# ------------------------------------------------------------------------------------------------ values


def _number(texts: pl.Series, source: Source) -> pl.Series:
    comma = source.dialect.decimal == ","
    sign = "," if comma else "[.]"
    fits = texts.str.contains(rf"^-?[0-9]{{1,12}}(?:{sign}[0-9]{{1,6}})?$")
    usual = texts if fits.all() else texts.set(~fits, None)
    if comma:
        usual = usual.str.replace(",", ".", literal=True)
    kind = _TYPES["decimal"]
    values = usual.cast(kind)
    if fits.all():
        return values
    return _replaced(texts, ~fits, lambda t: same_texts.number(t, comma=comma), kind).zip_with(
        (~fits).fill_null(False), values
    )


def _whole(texts: pl.Series, _source: Source) -> pl.Series:
    fits = texts.str.contains(r"^-?[0-9]{1,18}$")
    if fits.all():
        return texts.cast(pl.Int64)
    usual = texts.set(~fits, None).cast(pl.Int64)
    return _replaced(texts, ~fits, same_texts.whole_number, pl.Int64).zip_with((~fits).fill_null(False), usual)


def _width(pattern: str) -> int:
    for part, width in _WIDTHS.items():
        pattern = pattern.replace(part, "x" * width)
    return len(pattern)


def _days(texts: pl.Series, source: Source) -> pl.Series:
    """Days; one that stands for nothing is read, too."""
    formats = source.dialect.date_formats
    days = pl.Series(texts.name, [], pl.Date).extend_constant(None, len(texts))
    for pattern in formats:
        read = texts.set(texts.str.len_bytes() != _width(pattern), None).str.to_date(pattern, strict=False)
        days = days.zip_with(days.is_not_null(), read)
    left = texts.is_not_null() & (days.is_null() | (days.dt.year() < 1000))
    if left.any():
        days = _replaced(texts, left, lambda t: same_texts.day(t, formats), pl.Date).zip_with(left, days)
    return days


@dataclass
class _Times:
    """Times as they are written: on the hospital's clock, or in UTC; and which texts were read, those that stand for nothing included."""

    clock: pl.Series
    moment: pl.Series
    read: pl.Series


def _times(texts: pl.Series, source: Source) -> _Times:
    formats, nothing = source.dialect.datetime_formats, list(source.dialect.placeholder_dates)
    none = pl.Series(texts.name, [], pl.String).extend_constant(None, len(texts))
    moment, clock, day = none.cast(MOMENT), none.cast(CLOCK), none.cast(pl.Date)
    width = texts.str.len_bytes()
    for pattern in sorted(formats, key=lambda f: "%z" not in f):
        left = moment.is_null() & clock.is_null()
        if pattern.endswith("%z"):
            written = texts.str.replace("Z$", "+00:00")
            written = written.set(written.str.len_bytes() != _width(pattern) + 4, None)
            read = written.str.to_datetime(pattern, strict=False, time_unit="us", time_zone="UTC")
            moment = read.zip_with(left, moment)
            shown = written.str.head(_width(pattern) - 2) if nothing else None
            if shown is not None:
                day = shown.str.to_datetime(pattern[:-2], strict=False).dt.date().zip_with(left, day)
        elif "%z" not in pattern:
            written = texts.set(width != _width(pattern), None)
            clock = written.str.to_datetime(pattern, strict=False, time_unit="us").zip_with(left, clock)
    day = clock.dt.date().zip_with(clock.is_not_null(), day)
    odd = texts.is_not_null() & (
        (moment.is_null() & clock.is_null())
        | (moment.dt.year() <= 1000).fill_null(False)
        | (clock.dt.year() < 1000).fill_null(False)
    )
    if odd.any():
        clock = _replaced(texts, odd, lambda t: same_texts.time(t, formats)[0], CLOCK).zip_with(odd, clock)
        moment = _replaced(texts, odd, lambda t: same_texts.time(t, formats)[1], MOMENT).zip_with(odd, moment)
    read = moment.is_not_null() | clock.is_not_null()
    if nothing:
        absent = day.is_in(nothing).fill_null(False)
        clock, moment = clock.set(absent, None), moment.set(absent, None)
    return _Times(clock, moment, read)


@dataclass
class _Told:
    """What a clock's times mean: the moment (of an hour that comes twice, the first), and which hours are missing or come twice."""

    moment: pl.Series
    missing: pl.Series
    repeated: pl.Series


def _told(clock: pl.Series, zone: str) -> _Told:
    sure = clock.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    moment = sure.dt.convert_time_zone("UTC")
    doubtful = clock.is_not_null() & sure.is_null()
    if not doubtful.any():
        return _Told(moment, doubtful, doubtful)
    first = _first(clock.set(~doubtful, None), zone, "earliest")
    return _Told(first.zip_with(doubtful, moment), doubtful & first.is_null(), doubtful & first.is_not_null())


def _first(clock: pl.Series, zone: str, which: Any) -> pl.Series:
    return clock.dt.replace_time_zone(zone, ambiguous=which, non_existent="null").dt.convert_time_zone("UTC")


def _clocked(source: Source, texts: dict[str, pl.Series], block: _Block) -> None:
    """The columns of times, in UTC and local."""
    zone = source.hospital.timezone
    names = [c.name for c in source.table.columns if c.type == "datetime"] + [UPDATED_COLUMN]
    times = {name: _times(_trimmed(texts[name]), source) for name in names if name in texts}
    begins = ends(source.table, source.rules)
    told = {name: _told(one.clock, zone) for name, one in times.items()}
    for name, one in times.items():
        said = told[name]
        block.mark(f"{name}__bad", _trimmed(texts[name]).is_not_null() & ~one.read)
        moment = said.moment
        begin = begins.get(name)
        if begin in times and said.repeated.any():
            # both ends in the hour that comes twice, in the wrong order: the end is of the second
            twisted = said.repeated & told[begin].repeated & (one.clock < times[begin].clock)
            moment = _first(one.clock, zone, "latest").zip_with(twisted.fill_null(False), moment)
        moment = one.moment.zip_with(one.moment.is_not_null(), moment)
        if name == UPDATED_COLUMN:
            # it only orders versions: an hour that is missing counts by the clock before it
            if said.missing.any():
                moment = _gapless(one.clock, zone).zip_with(said.missing, moment)
            block.columns[name] = moment
            block.mark(f"{name}__beyond", (moment < FIRST_UPDATE) | (moment >= LAST_UPDATE))
            continue
        block.columns[name] = moment
        shown = one.moment.dt.convert_time_zone(zone).dt.replace_time_zone(None)
        block.columns[f"{name}_local"] = shown.zip_with(one.moment.is_not_null(), one.clock)
        block.mark(f"{name}__missing", said.missing)
        block.mark(f"{name}__repeated", said.repeated)


def _gapless(clock: pl.Series, zone: str) -> pl.Series:
    """Moments of hours that are missing, by the offset after them."""
    later = _first(clock.dt.offset_by("3h"), zone, "earliest")
    return later.dt.offset_by("-3h")


def _typed(source: Source, file: Opened) -> _Block:
    texts = _read(source, file)
    block = _Block({})
    _national(source, texts, block)
    _identifiers(source, texts, block)
    _clocked(source, texts, block)
    height = len(file.records.sound.number)
    read = {"decimal": _number, "integer": _whole, "date": _days}
    for column in source.table.columns:
        name = column.name
        if name in block.columns:
            continue
        if name not in texts:
            block.columns[name] = pl.Series(name, [None], _TYPES[column.type]).new_from_index(0, height)
            if column.type == "datetime":
                block.columns[f"{name}_local"] = block.columns[name].cast(CLOCK)
            continue
        trimmed = _trimmed(texts[name])
        if column.type not in read:
            block.columns[name] = trimmed
            continue
        values = read[column.type](trimmed, source)
        block.mark(f"{name}__bad", trimmed.is_not_null() & values.is_null())
        if column.type == "date" and source.dialect.placeholder_dates:
            values = values.set(values.is_in(list(source.dialect.placeholder_dates)), None)
        block.columns[name] = values
    operation = pl.Series("op", ["upsert"]).new_from_index(0, height)
    if OPERATION_COLUMN in texts:
        written = _trimmed(texts[OPERATION_COLUMN]).fill_null("upsert")
        operation = written.str.to_lowercase()
        block.mark("op__foreign", ~operation.is_in(["upsert", "delete"]))
    block.columns[OPERATION_COLUMN] = operation
    if UPDATED_COLUMN not in texts:
        block.columns[UPDATED_COLUMN] = pl.Series(UPDATED_COLUMN, [None], MOMENT).new_from_index(0, height)
    return block


# ------------------------------------------------------------------------------------------------ rules


def _frame(source: Source, file: Opened, block: _Block) -> pl.DataFrame:
    """The landed columns, flags apart."""
    names: list[str] = []
    for column in source.table.columns:
        names += [column.name, f"{column.name}_local"] if column.type == "datetime" else [column.name]
    at, day = latest(source)
    manifest, places, (hi, lo) = source.manifest, file.records.sound, file.sound
    return pl.DataFrame([block.columns[name].alias(name) for name in names]).with_columns(
        pl.lit(manifest.hospital).alias("hospital_id"),
        pl.lit(manifest.delivery_id).alias("delivery_id"),
        pl.lit(manifest.sequence, pl.Int64).alias("sequence"),
        pl.lit(at).cast(MOMENT).alias("latest_at"),
        pl.lit(day).alias("latest_day"),
        pl.lit(source.file.path).alias("source_file"),
        pl.Series("record_number", places.number),
        pl.Series("line_number", places.line),
        pl.Series("row_uid_hi", hi),
        pl.Series("row_uid_lo", lo),
        block.columns[OPERATION_COLUMN].alias(OPERATION_COLUMN),
        block.columns[UPDATED_COLUMN].alias(UPDATED_COLUMN),
    )


def _broken(check: Check, block: _Block, deletions: bool) -> pl.Expr:
    if check.mark:
        says = pl.lit(block.marks[check.mark]) if check.mark in block.marks else _NONE_BROKEN
    else:
        says = ~pl.sql_expr(check.expression).fill_null(True)
        for mark in check.unread:
            if mark in block.marks:
                says &= ~pl.lit(block.marks[mark])
    if deletions and not check.of_deletions:
        says &= pl.col(OPERATION_COLUMN) != "delete"
    return says


def _judged(frame: pl.DataFrame, checks: list[Check], block: _Block) -> pl.DataFrame:
    """Per check the records that break it; of checks that none breaks one false for all."""
    deletions = bool((frame[OPERATION_COLUMN] == "delete").any())
    asked = [c for c in checks if not c.mark or c.mark in block.marks]
    return frame.select(_broken(c, block, deletions).alias(c.id) for c in asked)


def _names(judged: pl.DataFrame, checks: list[Check], label: Callable[[Check], str]) -> pl.Series:
    """Per record the names of the checks that it breaks, with commas between; null where it breaks none."""
    broken = [c for c in checks if c.id in judged.columns and judged[c.id].any()]
    if not broken:
        return pl.Series([None], dtype=pl.String).new_from_index(0, judged.height)
    said = pl.concat_str(
        [pl.when(pl.col(c.id)).then(pl.lit(label(c))) for c in broken], separator=",", ignore_nulls=True
    )
    names = judged.select(said).to_series()
    return names.set(names == "", None)


def _business_key(frame: pl.DataFrame, source: Source) -> pl.Series:
    table = source.table
    required = [pl.col(k).cast(pl.String) for k in table.key if k not in table.key_optional]
    parts = [pl.col(k).cast(pl.String) for k in table.key]
    whole = pl.all_horizontal(r.is_not_null() for r in required)
    key = pl.concat_str(parts, separator="|", ignore_nulls=True)
    return frame.select(pl.when(whole).then(key)).to_series()


def _damaged(source: Source, file: Opened) -> pl.DataFrame:
    places, (hi, lo) = file.records.hurt, file.hurt
    count = len(places.number)
    return pl.DataFrame(
        [
            *_placed(places), pl.Series("row_uid_hi", hi), pl.Series("row_uid_lo", lo),
            pl.Series("disposition", ["unparseable"] * count, pl.String),
            pl.Series("rule_ids", [f"{source.table.name}.record.{r}" for r in file.records.reason], pl.String),
            pl.Series("columns", [""] * count, pl.String), pl.Series("business_key", [None] * count, pl.String),
            pl.Series("source_updated_at", [None] * count, MOMENT),
        ]
    )  # fmt: skip


def _placed(places: Places) -> list[pl.Series]:
    return [
        pl.Series("record_number", places.number), pl.Series("line_number", places.line), pl.Series("byte_offset", places.offset),
        pl.Series("byte_length", places.length),
    ]  # fmt: skip


def _rejected(
    source: Source, file: Opened, frame: pl.DataFrame, judged: pl.DataFrame, checks: list[Check], where: pl.Series
) -> pl.DataFrame:
    rejecting = [c for c in checks if c.action == "quarantine"]
    places = pl.DataFrame(_placed(file.records.sound)).select("byte_offset", "byte_length").filter(where)
    part, said = frame.filter(where), judged.filter(where)
    key = _business_key(part, source)
    leaking = [c.id for c in rejecting if c.mark.endswith("__national") and c.id in said.columns]
    if leaking:
        key = key.set(said.select(pl.any_horizontal(leaking)).to_series(), None)
    return part.with_columns(
        *places, key.alias("business_key"), pl.lit("quarantined").alias("disposition"),
        _names(said, rejecting, lambda c: c.id).alias("rule_ids"), _names(said, rejecting, lambda c: ",".join(c.columns)).alias("columns"),
    ).select(*REJECTS)  # fmt: skip


def land(source: Source, target: Path, rejects: Path) -> Account:
    """One file to Parquet, beside it where its rejected records stand."""
    account = Account(source.table.name, source.manifest.delivery_id, source.file.path)
    try:
        file = opened(source, account)
        block = _typed(source, file)
        frame = _frame(source, file, block)
        checks = checks_of(source.table, source.rules, file.present)
        judged = _judged(frame, checks, block)
        quarantining = [c.id for c in checks if c.action == "quarantine" and c.id in judged.columns]
        where = judged.select(pl.any_horizontal(quarantining)).to_series()
        if len(where) != frame.height:  # no rule asks a column
            where = where.new_from_index(0, frame.height)
        broken = {name: int(judged[name].sum()) for name in judged.columns}
        accepted = {n: int((judged[n] & ~where).sum()) if count else 0 for n, count in broken.items()}
        account.checks = {c.id: [frame.height, broken.get(c.id, 0), accepted.get(c.id, 0)] for c in checks}
        flags = _names(judged, [c for c in checks if c.action != "quarantine"], lambda c: c.id)
        rejected = _rejected(source, file, frame, judged, checks, where)
        account.rows_quarantined = rejected.height
        account.hash_quarantined = exact_sum(rejected["row_uid_hi"], rejected["row_uid_lo"])
        check_retyped(account, source.table)
    except Refused as refused:
        account.error = str(refused)
        return account
    data = frame.with_columns(flags.alias("flags")).filter(~where)
    account.rows_out = data.height
    if frame.height:
        data.write_parquet(target, compression="zstd", compression_level=1)
    apart = pl.concat([_damaged(source, file), rejected])
    if apart.height:
        apart.sort("record_number").write_parquet(rejects)
    return account
