"""What a dialect writes reads back as the truth; no row lies outside its delivery's period."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from delivered_files import PARIS, every, manifest, parse_datetime, problems, records
from hypothesis import given
from hypothesis import strategies as st
from simulated_world import World

from estuaire.contract.registry import Dialect, load_registry, read_code_map
from estuaire.contract.tables import load_contract
from estuaire.simulator.text import datetime_text, decimal_text, file_bytes
from estuaire.simulator.world import hospital_tables

FORMATS = ["%d/%m/%Y %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%d%b%Y:%H:%M:%S", "%Y%m%d%H%M%S", "%Y-%m-%d %H:%M"]


@pytest.mark.parametrize("fmt", FORMATS)
@given(moments=st.lists(st.datetimes(datetime(1970, 1, 2), datetime(2037, 1, 1)), min_size=1, max_size=20))
def test_datetimes_read_back(fmt: str, moments: list[datetime]) -> None:
    moments = [m.replace(second=0, microsecond=0) for m in moments]
    if "%z" in fmt:  # an hour that does not exist has no offset; EU rule since 1996
        moments = [m for m in moments if m.year >= 1997 and m.hour != 2]
    naive = pl.Series([int(m.replace(tzinfo=UTC).timestamp()) for m in moments], dtype=pl.Int64)
    for text, moment in zip(datetime_text(naive, fmt), moments, strict=True):
        back = datetime.strptime(text, fmt)
        assert back.replace(tzinfo=None) == moment
        if back.tzinfo:
            assert back.utcoffset() == moment.replace(tzinfo=PARIS).utcoffset()


@given(st.lists(st.none() | st.integers(0, 10**7).map(lambda n: n / 1000), max_size=30), st.sampled_from(".,"))
def test_decimals_read_back(values: list[float | None], decimal: str) -> None:
    texts = decimal_text(pl.Series(values, dtype=pl.Float64), decimal).to_list()
    assert [None if t is None else float(t.replace(decimal, ".")) for t in texts] == values
    assert not any(t is not None and (t.endswith((".", ",", ".0", ",0")) or "e" in t) for t in texts)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "iso8859-15"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_files_are_quoted_only_where_needed_and_have_no_clock(encoding: str, compression: str) -> None:
    dialect = Dialect("d", encoding, "|", ".", ("%Y-%m-%d",), ("%Y",), compression, ("", "NULL"))
    frame = pl.DataFrame({"a": ["é|x", 'say "é"', "two\nlines", None, "plain"]})
    data = file_bytes(frame, dialect)
    assert data == file_bytes(frame, dialect)
    if compression == "gzip":
        import gzip

        assert data[4:8] == b"\0\0\0\0"
        data = gzip.decompress(data)
    assert data.decode(encoding) == 'a\n"é|x"\n"say ""é"""\n"two\nlines"\nNULL\nplain\n'


def test_the_files_hold_the_truth(world: World) -> None:
    """New, untouched records of the full delivery, decoded by the registry, equal the world's own rows."""
    registry = load_registry()
    for hospital in world.plan.hospitals:
        entry = registry.get(hospital)
        truth = hospital_tables(world.plan, entry)["administration"]
        by_id = {row["administration_id"]: row for row in truth.iter_rows(named=True)}
        dialect = entry.dialects[entry.table_dialect["administration"]]
        maps = {system: read_code_map(path) for system, path in entry.code_maps.items()}
        compared = 0
        for record in records(world.folder, hospital, "2025-10-full", "administration"):
            want = by_id[record["administration_id"]]
            if problems(record, entry, "administration") or (record["stay_id"] or "").startswith("99"):
                continue
            for column in ("dose_unit", "route", "status"):
                assert (
                    maps[column if column != "status" else "administration_status"][record[column] or ""]
                    == want[column]
                )
            code = record["drug_code"] or ""
            drugs = maps.get("drug")
            decoded = drugs.get(code.zfill(13), drugs.get(code)) if drugs else code
            assert decoded == want["drug_code"] or code.startswith("LOCAL")
            dose = record["dose"]
            assert (None if dose is None else float(dose.replace(",", "."))) == want["dose"]
            assert (record["patient_id"], record["stay_id"]) == (want["patient_id"], want["stay_id"])
            moment = parse_datetime(record["given_at"] or "", dialect)
            assert moment is not None
            local = moment.replace(tzinfo=None)
            told = datetime.fromtimestamp(want["given_at"], UTC).replace(tzinfo=None)
            assert local == told or (local.hour == 2 and local.date() == told.date())
            compared += 1
        assert compared > 1000


def test_no_row_lies_outside_its_period(world: World) -> None:
    registry = load_registry()
    for hospital, delivery, table in every(world.plan.hospitals, world.truth["plan"]["deliveries"]):
        entry, contract = registry.get(hospital), load_contract().table(table)
        dialect = entry.dialects[entry.table_dialect[table]]
        period = manifest(world.folder, hospital, delivery)["period"]
        begin, end = (datetime.fromisoformat(period[k]) for k in ("from", "to"))
        later = 0
        for record in records(world.folder, hospital, delivery, table):
            for column in contract.columns:
                if column.type != "datetime" or not record[column.name]:
                    continue
                moment = parse_datetime(record[column.name] or "", dialect)
                if moment is None:
                    continue
                assert moment.replace(tzinfo=None) < end, "the future is told"
                if column.name == contract.period_column:
                    later += moment.replace(tzinfo=None) < begin
            if "source_updated_at" in record:
                updated = parse_datetime(record["source_updated_at"] or "", dialect)
                assert updated is not None
                assert begin <= updated.replace(tzinfo=None) < end
        kinds = world.truth["hospitals"][hospital][delivery]["tables"][table]["kinds"]
        assert later <= kinds["update"] + kinds["correction"]  # a repeated month lies inside the manifest's period


def test_open_stays_are_closed_by_a_later_delta(world: World) -> None:
    deliveries = world.truth["plan"]["deliveries"]
    closed = 0
    for hospital in world.plan.hospitals:
        open_stays = set()
        for delivery in deliveries:
            for record in records(world.folder, hospital, delivery, "stay"):
                if record["discharged_at"] is None and record.get("op") != "delete":
                    assert record["exit_mode"] is None
                    open_stays.add(record["stay_id"])
                elif record["stay_id"] in open_stays:
                    assert record["op"] == "upsert"
                    closed += 1
    assert closed > 0


def test_clock_rows_are_the_ones_that_python_knows() -> None:
    from estuaire.simulator.clock import avoid_clock_change, is_summer_time, seconds

    begin = datetime(2021, 1, 1)
    hours = [begin + timedelta(hours=h) for h in range(24 * 730)]
    values = np.array([int(h.replace(tzinfo=UTC).timestamp()) for h in hours])
    summer = is_summer_time(values)
    gap = {h for h in hours if h.replace(tzinfo=PARIS).astimezone(UTC).astimezone(PARIS).replace(tzinfo=None) != h}
    for hour, is_summer in zip(hours, summer, strict=True):
        if hour not in gap:
            assert hour.replace(tzinfo=PARIS).utcoffset() == timedelta(hours=2 if is_summer else 1)
    moved = avoid_clock_change(values, begin.date(), datetime(2023, 1, 1).date())
    assert int((moved != values).sum()) == 4
    assert seconds(begin.date()) == values[0]
