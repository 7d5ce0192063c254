"""Consolidating a hospital in Polars, with all that ours does: versions, deletions, full deliveries, merges, codes, ends of stays, flags, accounts.

Written anew from docs/domain/deliveries.md, stays.md, isolates.md, codes.md and docs/decisions/0012-stays-and-fulls.md and 0018-*.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from estuaire.contract.codes import standard_codes
from estuaire.contract.layer_columns import consolidated_columns
from estuaire.contract.mapped_share import IN_TEXT, in_text_flag
from estuaire.contract.tables import Contract, Reference, Table
from tests.benchmarks.peers.same_checks import GAP_HOURS, LONG_DAYS, Consolidated, Deliveries, Full, exact_sum
from tests.benchmarks.peers.same_polars import CLOCK, MOMENT
from tests.benchmarks.peers.same_texts import names_antibacterial

VERSION = ["sequence", "source_updated_at", "source_file", "line_number", "record_number", "delivery_id"]
_CURRENT, _REPLACED, _DELETED, _ENDED = range(4)
_TYPES: dict[str, Any] = {
    "VARCHAR": pl.String, "BIGINT": pl.Int64, "DECIMAL(18,6)": pl.Decimal(18, 6), "DATE": pl.Date, "TIMESTAMPTZ": MOMENT,
    "TIMESTAMP": CLOCK, "BOOLEAN": pl.Boolean,
}  # fmt: skip


@dataclass
class _Hospital:
    """A hospital's landed records by table, each with ``state``, ``place`` among the versions of its key and ``undated``."""

    given: Deliveries
    contract: Contract
    records: dict[str, pl.DataFrame]
    survivors: dict[str, str] = field(default_factory=dict)
    circular: set[str] = field(default_factory=set)
    codes: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    def table(self, name: str) -> Table:
        return self.contract.table(name)

    def current(self, name: str) -> pl.DataFrame:
        return self.records[name].filter(pl.col("state") == _CURRENT)

    def merged(self, column: str = "patient_id") -> pl.Expr:
        """The patient id that a record bears after merges."""
        return pl.col(column).replace(self.survivors) if self.survivors else pl.col(column)

    def standard(self, table: str, column: str) -> pl.Expr:
        """The standard code of a column, null where no map knows the local one."""
        known = self.codes_of(table, column)
        if not known:
            return pl.lit(None, pl.String)
        return pl.col(column).replace_strict(known, default=None, return_dtype=pl.String)

    def codes_of(self, table: str, column: str) -> dict[str, str]:
        if (table, column) not in self.codes:
            system = self.table(table).column(column).code_system
            written = self.records[table][column].unique().drop_nulls().to_list()
            self.codes[table, column] = standard_codes(self.given.hospital, str(system), written)
        return self.codes[table, column]


def _business_key(table: Table) -> pl.Expr:
    return pl.concat_str([pl.col(k).cast(pl.String) for k in table.key], separator="|", ignore_nulls=True)


# ------------------------------------------------------------------------------------------------ versions


def _ranked(records: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The records with their place among the versions of their key, newest first, and whether the next older one came with it."""
    key = list(table.key)
    several = (pl.col(key[0]) if len(key) == 1 else pl.struct(key)).is_duplicated()
    records = records.with_columns(several.alias("several"))
    alone = records.filter(~pl.col("several")).with_columns(place=pl.lit(1, pl.UInt32), twin=pl.lit(False))
    contested = records.filter(pl.col("several")).sort(VERSION, descending=True, nulls_last=True)
    contested = contested.with_columns(
        place=pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).over(key),
        twin=(
            (pl.col("op") == "upsert") & (pl.col("delivery_id").shift(-1).over(key) == pl.col("delivery_id"))
        ).fill_null(False),
    )
    return pl.concat([alone, contested]).drop("several")


def _omits(full: Full, table: Table, given: Deliveries) -> pl.Expr:
    """The full delivery does not hold the record's key; one whose row there was rejected stands in it, too."""
    rejected = [key for key, sequence, _ in given.rejected.get(table.name, ()) if sequence == full.sequence]
    older = pl.col("sequence") < full.sequence
    return older & ~_business_key(table).is_in(rejected) if rejected else older


def _within(full: Full, day: pl.Expr) -> pl.Expr:
    return ((day >= full.start) & (day < full.end)).fill_null(False)


def _versions(records: pl.DataFrame, table: Table, given: Deliveries) -> pl.DataFrame:
    """The records with their state: current, replaced, deleted, or ended by a full delivery in whose period they lie."""
    records = _ranked(records, table)
    state = pl.when(pl.col("place") > 1).then(_REPLACED).when(pl.col("op") == "delete").then(_DELETED)
    oldest: Any = records["sequence"].min()
    for full in given.fulls:
        if table.period_column and table.name in full.tables and oldest is not None and full.sequence > oldest:
            day = pl.col(f"{table.period_column}_local").dt.date()
            state = state.when(_omits(full, table, given) & _within(full, day)).then(_ENDED)
    return records.with_columns(state=state.otherwise(_CURRENT).cast(pl.UInt8), undated=pl.lit(False))


def _end_omitted(hospital: _Hospital, table: Table) -> None:
    """Of a table without a date, what full deliveries end."""
    fulls = [f for f in hospital.given.fulls if table.name in f.tables]
    oldest: Any = hospital.current(table.name)["sequence"].min()
    fulls = [f for f in fulls if oldest is not None and f.sequence > oldest]
    if table.period_column or not fulls:
        return
    end = _ended_by_parent if table.period_parent is not None else _ended_unnamed
    hospital.records[table.name] = end(hospital, table, fulls)


def _ended_by_parent(hospital: _Hospital, table: Table, fulls: list[Full]) -> pl.DataFrame:
    """A row lies where its parent lay as the full knew it: by the parent's newest dated version up to it, failing that its first one after."""
    reference = table.period_parent
    assert reference is not None
    records = hospital.records[table.name]
    ended, undated = pl.lit(False), pl.lit(False)
    for n, full in enumerate(fulls):
        day = f"day_{n}"
        if reference.table in hospital.records:
            records = _with_parents_day(hospital, records, reference, full, day)
        else:
            records = records.with_columns(pl.lit(None, pl.Date).alias(day))
        omitted = _omits(full, table, hospital.given)
        ended |= omitted & _within(full, pl.col(day))
        undated |= omitted & pl.col(day).is_null()
    here = pl.col("state") == _CURRENT
    return records.with_columns(
        state=pl.when(here & ended).then(pl.lit(_ENDED, pl.UInt8)).otherwise(pl.col("state")),
        undated=here & undated & ~ended,
    ).drop(f"day_{n}" for n in range(len(fulls)))


def _with_parents_day(
    hospital: _Hospital, records: pl.DataFrame, reference: Reference, full: Full, day: str
) -> pl.DataFrame:
    parent = hospital.table(reference.table)
    dated = (
        hospital.records[parent.name]
        .select(*reference.to, "sequence", "place", pl.col(f"{parent.period_column}_local").dt.date().alias(day))
        .drop_nulls(day)
    )
    before = pl.col("sequence") <= full.sequence
    days = dated.group_by(reference.to).agg(
        pl.coalesce(
            pl.col(day).filter(before).sort_by(pl.col("place").filter(before)).first(),
            pl.col(day).filter(~before).sort_by(pl.col("place").filter(~before)).last(),
        )
    )
    return records.join(days, left_on=reference.columns, right_on=reference.to, how="left", maintain_order="left")


def _ended_unnamed(hospital: _Hospital, table: Table, fulls: list[Full]) -> pl.DataFrame:
    """A patient or a unit that a full omits ends once no current record names it."""
    records = hospital.records[table.name]
    omitted = pl.any_horizontal(_omits(full, table, hospital.given) for full in fulls)
    left = records.with_row_index("row").filter((pl.col("state") == _CURRENT) & omitted)
    for other in hospital.contract.tables:
        for reference in other.references:
            if reference.table == table.name and other.name in hospital.records:
                named = hospital.current(other.name).select(reference.columns).unique()
                left = left.join(named, left_on=reference.to, right_on=reference.columns, how="anti")
    ended = pl.int_range(pl.len(), dtype=pl.UInt32).is_in(left["row"].implode())
    return records.with_columns(state=pl.when(ended).then(pl.lit(_ENDED, pl.UInt8)).otherwise(pl.col("state")))


# ------------------------------------------------------------------------------------------------ merges, persons


def _merge(hospital: _Hospital) -> None:
    if "patient_merge" not in hospital.records or "patient" not in hospital.records:
        return
    patients = set(hospital.current("patient")["patient_id"])
    order = ["merged_at", "sequence", "new_patient_id"]
    merges = hospital.current("patient_merge").sort(order, nulls_last=False).select("old_patient_id", "new_patient_id")
    into = {old: new for old, new in merges.iter_rows() if new in patients and new != old}
    for old in into:
        passed = [old]
        while passed[-1] in into and len(passed) == len(set(passed)):
            passed.append(into[passed[-1]])
        if len(passed) > len(set(passed)):
            hospital.circular.add(old)
        else:
            hospital.survivors[old] = passed[-1]


def _deaths(hospital: _Hospital) -> pl.DataFrame:
    """One row per patient who died: the end of the (first) day of death."""
    if "patient" not in hospital.records:
        return pl.DataFrame(schema={"patient_id": pl.String, "died_at_local": CLOCK, "died_at": MOMENT})
    died = hospital.current("patient").drop_nulls("death_date")
    days = died.group_by(hospital.merged()).agg(pl.col("death_date").min())
    local = pl.col("death_date").cast(CLOCK) + pl.duration(days=1, seconds=-1)
    zone = hospital.given.hospital.timezone
    utc = pl.col("died_at_local").dt.replace_time_zone(zone, ambiguous="earliest").dt.convert_time_zone("UTC")
    return days.select("patient_id", died_at_local=local).with_columns(died_at=utc)


def _beyond_one_person(hospital: _Hospital) -> set[str]:
    """Patient identifiers whose records cannot be one person's."""
    limits, here = hospital.given.hospital.one_person, hospital.records
    years = limits.years_of_age + 1
    shifted = hospital.given.hospital.calendar == "shifted"
    signs: list[pl.Series] = []

    def said(frame: pl.DataFrame) -> None:
        signs.append(frame["patient_id"])

    def merged(name: str) -> pl.DataFrame:
        return hospital.current(name).with_columns(hospital.merged())

    if "patient" in here:
        born = here["patient"].filter(pl.col("op") == "upsert")
        if not shifted:
            alive = pl.col("birth_date") >= pl.col("latest_day").dt.offset_by(f"-{years}y")
            born = born.filter(alive.fill_null(True))
        of_versions = born.group_by("patient_id").agg(n=pl.col("birth_date").dt.year().drop_nulls().n_unique())
        said(of_versions.filter(pl.col("n") > limits.birth_years).with_columns(hospital.merged()))
        birth = merged("patient").group_by("patient_id").agg(born=pl.col("birth_date").min())
        for name, moment in (("specimen", "collected_at_local"), ("stay", "admitted_at_local")):
            if name in here:
                last = merged(name).group_by("patient_id").agg(at=pl.col(moment).max())
                too_old = pl.col("at") >= pl.col("born").dt.offset_by(f"{years}y").cast(CLOCK)
                said(last.join(birth, on="patient_id").filter(too_old))
    if "stay" in here:
        stays = merged("stay")
        full = (
            stays.filter(
                (hospital.standard("stay", "stay_type") == "full") & (pl.col("discharged_at") > pl.col("admitted_at"))
            )
            .select("patient_id", "admitted_at", "discharged_at")
            .unique()
        )
        steps = pl.concat(
            full.select("patient_id", moment=pl.col(at), change=pl.lit(change, pl.Int32))
            for at, change in (("admitted_at", 1), ("discharged_at", -1))
        ).sort("patient_id", "moment", "change")
        open_stays = steps.with_columns(n=pl.col("change").cum_sum().over("patient_id"))
        said(open_stays.filter(pl.col("n") > limits.stays_at_once))
        owners = stays.select("stay_id", owner="patient_id")
        for name in ("specimen", "prescription", "administration", "lab_result"):
            if name in here:
                named = merged(name).select("patient_id", "stay_id").drop_nulls("stay_id").unique()
                others = named.join(owners, on="stay_id").filter(pl.col("patient_id") != pl.col("owner"))
                several = others.group_by("patient_id").agg(n=pl.col("owner").n_unique())
                said(several.filter(pl.col("n") > limits.patients_of_stays))
    if "specimen" in here:
        taken = (
            merged("specimen")
            .drop_nulls("collected_at_local")
            .select("patient_id", "unit_code", at="collected_at_local", day=pl.col("collected_at_local").dt.date())
        )
        units = pl.col("unit_code").drop_nulls().n_unique()
        moments = taken.filter(pl.col("at") != pl.col("day").cast(CLOCK)).group_by("patient_id", "at").agg(n=units)
        said(moments.filter(pl.col("n") > limits.units_at_once))
        days = taken.group_by("patient_id", "day").agg(units=units, specimens=pl.len())
        said(days.filter((pl.col("units") > limits.units_a_day) | (pl.col("specimens") > limits.specimens_a_day)))
    return {patient for sign in signs for patient in sign}


# ------------------------------------------------------------------------------------------------ stays, draws


def _ends_of_stays(hospital: _Hospital, current: pl.DataFrame, deaths: pl.DataFrame) -> pl.DataFrame:
    """Current stays with their end and the first record of the stay that they are a part of."""
    until = hospital.given.told_until
    zone = ZoneInfo(hospital.given.hospital.timezone)
    local = until and until.astimezone(zone).replace(tzinfo=None)
    stays = current.with_columns(kept=(hospital.standard("stay", "stay_type") == "full").fill_null(False))
    stays = stays.join(deaths, on="patient_id", how="left", maintain_order="left")
    for column, next_one in (("admitted_at", "next_at"), ("admitted_at_local", "next_at_local")):
        full = stays.filter("kept").select("patient_id", pl.col(column).alias(next_one)).drop_nulls().sort(next_one)
        stays = stays.sort(column).join_asof(
            full, left_on=column, right_on=next_one, by="patient_id", strategy="forward", allow_exact_matches=False,
            check_sortedness=False,
        )  # fmt: skip
    stays = stays.with_columns(
        first_end=pl.min_horizontal(
            pl.coalesce("discharged_at", "next_at"), "died_at", pl.lit(until and until.astimezone(UTC)).cast(MOMENT)
        ),
        first_end_local=pl.min_horizontal(
            pl.coalesce("discharged_at_local", "next_at_local"), "died_at_local", pl.lit(local).cast(CLOCK)
        ),
    ).with_columns(
        untold=pl.col("first_end").is_null(),
        ended_at=pl.max_horizontal("admitted_at", "first_end"),
        ended_at_local=pl.max_horizontal("admitted_at_local", "first_end_local"),
    )
    by = ["patient_id", "kept"]
    stays = stays.sort(*by, "admitted_at", "stay_id").with_columns(
        before=pl.col("ended_at").cum_max().shift(1).over(by), stay_before=pl.col("stay_id").shift(1).over(by)
    )
    near = (pl.col("admitted_at") <= pl.col("before") + pl.duration(hours=GAP_HOURS)).fill_null(False)
    follows = pl.col("kept") & (near | (pl.col("previous_stay_id") == pl.col("stay_before")).fill_null(False))
    stays = stays.with_columns(chain=(~follows).cum_sum().over(by))
    long = (pl.col("ended_at") > pl.col("admitted_at") + pl.duration(days=LONG_DAYS)).fill_null(False)
    return stays.with_columns(whole_stay_id=pl.col("stay_id").first().over([*by, "chain"]), long=long)


def _draws(hospital: _Hospital) -> pl.Expr:
    """The first bottle of a specimen's draw: of blood, of one patient, moment, purpose and site."""
    blood = hospital.standard("specimen", "nature") == "blood"
    together = ["patient_id", "collected_at", "__purpose", "body_site"]
    first = pl.col("specimen_id").min().over([*together, blood.fill_null(False)])
    return pl.when(blood).then(first).otherwise(pl.col("specimen_id"))


# ------------------------------------------------------------------------------------------------ drugs


def _unmapped_antibacterials(hospital: _Hospital, current: pl.DataFrame) -> pl.Series:
    drugs = ["drug_code", "drug_label"]
    written = hospital.records["administration"].filter(hospital.standard("administration", "drug_code").is_null())
    pairs = written.select(pl.col(drugs).fill_null("")).unique()
    named = [pair for pair in pairs.iter_rows() if names_antibacterial(*pair)]
    said = pl.DataFrame(named, schema=dict.fromkeys(drugs, pl.String), orient="row").with_columns(named=pl.lit(True))
    rows = current.select(pl.col(drugs).fill_null("")).join(said, on=drugs, how="left", maintain_order="left")
    unmapped = current.select(hospital.standard("administration", "drug_code").is_null()).to_series()
    return unmapped & rows["named"].fill_null(False)


# ------------------------------------------------------------------------------------------------ tables


@dataclass
class _Writing:
    """What writing a table needs of those before it."""

    keys: dict[str, pl.DataFrame]  # of each table that is written
    nobody: set[str]
    deaths: pl.DataFrame


def _orphan(hospital: _Hospital, current: pl.DataFrame, reference: Reference, keys: pl.DataFrame) -> pl.Series:
    own, to = list(reference.columns), list(reference.to)
    known = keys.select(to).unique().with_columns(known=pl.lit(True))
    joined = current.select(own).join(known, left_on=own, right_on=to, how="left", maintain_order="left")
    return joined.select(
        pl.all_horizontal(pl.col(c).is_not_null() for c in own) & pl.col("known").is_null()
    ).to_series()


def _twice(records: pl.DataFrame, table: Table) -> pl.DataFrame | None:
    """Keys of which the delivery that is served held two different records of the same moment."""
    key, content = list(table.key), [c.name for c in table.columns]
    top = records.filter((pl.col("place") == 1) & pl.col("twin")).select(*key, "delivery_id", "source_updated_at")
    if not top.height:
        return None
    same = records.filter(pl.col("op") == "upsert").join(
        top, on=[*key, "delivery_id", "source_updated_at"], how="semi", nulls_equal=True
    )
    kinds = same.select(*key, *(c for c in content if c not in key)).unique().group_by(key).len()
    twice = kinds.filter(pl.col("len") > 1)
    return twice.select(key) if twice.height else None


def _stale(hospital: _Hospital, current: pl.DataFrame, table: Table) -> pl.Series:
    """Of which current records a newer version is set aside."""
    rejected = hospital.given.rejected.get(table.name)
    none = pl.Series([False]).new_from_index(0, current.height)
    if not rejected:
        return none
    schema = {"key": pl.String, "rejected_in": pl.Int64, "rejected_at": MOMENT}
    newest = pl.DataFrame(rejected, schema=schema, orient="row")
    never = datetime(1, 1, 1, tzinfo=UTC)
    rows = current.select("sequence", "source_updated_at", key=_business_key(table)).with_row_index("row")
    later = pl.col("rejected_at").fill_null(never) > pl.col("source_updated_at").fill_null(never)
    newer = (pl.col("rejected_in") > pl.col("sequence")) | ((pl.col("rejected_in") == pl.col("sequence")) & later)
    hit = rows.join(newest, on="key").filter(newer)["row"].unique()
    return none.scatter(hit, True) if len(hit) else none


def _flags(hospital: _Hospital, table: Table, current: pl.DataFrame, writing: _Writing) -> pl.Series:
    """The flags of landing, and what several records say; in this order."""
    marks: list[tuple[str, pl.Series]] = []
    for reference in table.references:
        if reference.table in writing.keys and reference.table != table.name:
            flag = f"{table.name}.{reference.columns[-1]}.orphan"
            marks.append((flag, _orphan(hospital, current, reference, writing.keys[reference.table])))
    if (twice := _twice(hospital.records[table.name], table)) is not None:
        key = list(table.key)
        rows = current.select(key).join(
            twice.with_columns(twice=pl.lit(True)), on=key, how="left", maintain_order="left", nulls_equal=True
        )
        marks.append((f"{table.name}.key.twice", rows["twice"].fill_null(False)))
    if "patient_id" in current.columns and writing.nobody:
        marks.append((f"{table.name}.patient_id.not_one_person", current["patient_id"].is_in(list(writing.nobody))))
    if table.name == "stay":
        marks += [(f"stay.length.above_{LONG_DAYS}_days", current["long"]), ("stay.end.unknown", current["untold"])]
    if table.period_parent is not None:
        marks.append((f"{table.name}.omitted.undated", current["undated"]))
    if table.name == "patient_merge":
        circular = current["old_patient_id"].is_in(list(hospital.circular))
        marks.append(("patient_merge.old_patient_id.circular", circular))
    for column in table.columns:
        if (flag := in_text_flag(table.name, column.name)) is not None:
            form = f"(?i)^(?:{IN_TEXT[f'{table.name}.{column.name}']})$"
            unmapped = hospital.standard(table.name, column.name).is_null()
            says = current.select((unmapped & pl.col(column.name).str.contains(form)).fill_null(False))
            marks.append((str(flag), says.to_series()))
    if table.name == "administration":
        marks.append(("administration.drug_code.antibacterial", _unmapped_antibacterials(hospital, current)))
    marks = [(flag, rows) for flag, rows in marks if rows.any()]
    if not marks:
        return current["flags"]
    said = [pl.col("flags"), *(pl.when(pl.lit(rows)).then(pl.lit(flag)) for flag, rows in marks)]
    flags = current.select(pl.concat_str(said, separator=",", ignore_nulls=True)).to_series()
    return flags.set(flags == "", None)


def _unmapped(hospital: _Hospital, table: Table, data: pl.DataFrame) -> dict[str, dict[str, dict[str, int]]]:
    unmapped: dict[str, dict[str, dict[str, int]]] = {}
    for column in table.columns:
        if column.type != "code" or not column.code_system:
            continue
        mapped, flag = pl.col(column.name).is_not_null(), in_text_flag(table.name, column.name)
        if flag is not None:
            mapped |= pl.col("flags").str.contains(flag, literal=True).fill_null(False)
        counts = data.filter(~mapped)[f"{column.name}_source"].drop_nulls().value_counts()
        for code, count in counts.iter_rows():
            of_code = unmapped.setdefault(column.code_system, {}).setdefault(code, {})
            of_code[f"{table.name}.{column.name}"] = count
    return unmapped


def _write(hospital: _Hospital, table: Table, writing: _Writing, target: Path) -> Consolidated:
    current = hospital.current(table.name)
    stale = _stale(hospital, current, table)
    if "patient_id" in current.columns and table.name != "patient":
        current = current.with_columns(hospital.merged())
    current = current.with_columns(stale.alias("stale_correction"))
    if table.name == "stay":
        current = _ends_of_stays(hospital, current, writing.deaths)
    if table.name == "specimen":
        current = current.with_columns(hospital.standard("specimen", "purpose").alias("__purpose"))
        current = current.with_columns(draw_id=_draws(hospital))
    if table.name == "patient":
        into = pl.col("patient_id").replace_strict(hospital.survivors, default=None, return_dtype=pl.String)
        current = current.with_columns(merged_into=into if hospital.survivors else pl.lit(None, pl.String))
    current = current.with_columns(_flags(hospital, table, current, writing).alias("flags"))
    coded = [c.name for c in table.columns if c.type == "code" and c.code_system]
    current = current.with_columns(
        *(pl.col(c).alias(f"{c}_source") for c in coded), *(hospital.standard(table.name, c).alias(c) for c in coded)
    )
    columns = consolidated_columns(table)
    by = "patient_id" if "patient_id" in current.columns else table.key[0]
    data = current.sort(by, "sequence", "delivery_id", "source_file", "record_number").select(
        pl.col(c.name).cast(_TYPES[c.duckdb]) for c in columns
    )
    data.write_parquet(target, compression="zstd", compression_level=1)
    written = pl.read_parquet(target)  # what is told of the table is told of the file
    writing.keys[table.name] = written.select(table.key)
    gone = hospital.records[table.name].filter(pl.col("state") != _CURRENT)
    superseded = {
        str(delivery): [part.height, exact_sum(part["row_uid_hi"], part["row_uid_lo"])]
        for (delivery,), part in gone.select("delivery_id", "row_uid_hi", "row_uid_lo").group_by("delivery_id")
    }
    return Consolidated(table.name, written.height, superseded, _unmapped(hospital, table, written))


def consolidate(
    given: Deliveries, contract: Contract, landed: dict[str, list[Path]], folder: Path
) -> list[Consolidated]:
    """Every landed table of a hospital, written to ``out-<table>.parquet``."""
    hospital = _Hospital(given, contract, {})
    delivered = [t for t in contract.tables if landed.get(t.name)]
    for table in delivered:
        records = pl.concat(pl.read_parquet(path) for path in landed[table.name])
        if records.select(pl.struct("row_uid_hi", "row_uid_lo").n_unique()).item() != records.height:
            raise AssertionError(f"two records of {table.name} have one identity")
        hospital.records[table.name] = _versions(records, table, given)
    for table in reversed(delivered):
        _end_omitted(hospital, table)
    _merge(hospital)
    writing = _Writing({}, _beyond_one_person(hospital), _deaths(hospital))
    return [_write(hospital, table, writing, folder / f"out-{table.name}.parquet") for table in delivered]


def rejected_of(path: Path, sequence: int) -> list[tuple[str, int, datetime | None]]:
    """(business key, sequence, updated) of the rejected records of a file whose key is known."""
    rows = pl.read_parquet(path, columns=["disposition", "business_key", "source_updated_at"])
    kept = rows.filter((pl.col("disposition") == "quarantined") & pl.col("business_key").is_not_null())
    return [(key, sequence, at) for _, key, at in kept.iter_rows()]
