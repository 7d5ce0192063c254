"""What Estuaire asks of an object store, the same on a folder and on two S3 servers."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from estuaire.base.errors import FileMissing, PathOutsideDelivery, StoreUnavailable
from estuaire.base.settings import Settings
from estuaire.base.sql import literal
from estuaire.storage.duck import reading
from estuaire.storage.local_files import local_files
from estuaire.storage.object_store import ObjectStore
from estuaire.storage.s3 import PART_BYTES, S3Store
from estuaire.storage.stores import open_store


def _bytes(store: ObjectStore, key: str) -> bytes:
    with store.open(key) as stream:
        return stream.read()


def test_what_is_put_is_read_listed_and_deleted(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"from a file")
    assert store.put_bytes("landing/h01/d1/a.csv", b"abc")
    store.put_file("landing/h01/d1/b é+%.csv", tmp_path / "local")
    assert store.put_bytes("landing/h010/d1/a.csv", b"")
    assert _bytes(store, "landing/h01/d1/b é+%.csv") == b"from a file"
    assert _bytes(store, "landing/h010/d1/a.csv") == b""
    assert [(o.key, o.size) for o in store.list("landing/")] == [
        ("landing/h01/d1/a.csv", 3), ("landing/h01/d1/b é+%.csv", 11), ("landing/h010/d1/a.csv", 0),
    ]  # fmt: skip
    assert [o.key for o in store.list("landing/h01/")] == ["landing/h01/d1/a.csv", "landing/h01/d1/b é+%.csv"]
    assert [o.key for o in store.list("landing/h010")] == ["landing/h010/d1/a.csv"]
    store.delete("landing/h01/d1/a.csv")
    store.delete("landing/h01/d1/a.csv")
    assert store.stat("landing/h01/d1/a.csv") is None
    assert list(store.list("nothing/")) == []


def test_keys_come_in_order_of_their_bytes_over_pages_of_a_thousand(store: ObjectStore) -> None:
    keys = [f"landing/h01/d{i:04d}/manifest.json" for i in range(1205)]
    keys += ["landing/h01-b/x", "landing/h01.c/x", "landing/h01/d0000.z", "landing/h01_d/x"]
    for key in keys:
        store.put_bytes(key, b"{}")
    assert [o.key for o in store.list("landing/")] == sorted(keys)


def test_the_first_writer_of_a_key_wins(store: ObjectStore) -> None:
    assert store.put_bytes("k", b"first", if_none_match=True)
    assert not store.put_bytes("k", b"second", if_none_match=True)
    assert _bytes(store, "k") == b"first"
    assert store.put_bytes("k", b"third")
    assert _bytes(store, "k") == b"third"
    assert [o.key for o in store.list("")] == ["k"]  # no temporary object is left


def test_of_many_writers_at_once_one_wins(store: ObjectStore) -> None:
    won: list[int] = []
    barrier = threading.Barrier(8)

    def write(number: int) -> None:
        barrier.wait()
        if store.put_bytes("landing/h01/d1/manifest.json", b"%d" % number, if_none_match=True):
            won.append(number)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert _bytes(store, "landing/h01/d1/manifest.json") == b"%d" % won[0]


def test_the_version_is_the_bytes_and_the_same_in_a_list(store: ObjectStore) -> None:
    store.put_bytes("k", b"one")
    before = store.stat("k")
    assert list(store.list("k")) == [before]
    store.put_bytes("k", b"two")
    assert before is not None
    assert store.stat("k") not in (None, before)


def test_a_file_of_several_parts_is_whole(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "large"
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for i in range(2 * (PART_BYTES >> 20) + 1):
            file.write(i.to_bytes(4, "big") + block)
    store.put_file("large", path)
    digest = hashlib.sha256()
    with store.open("large") as stream:
        while data := stream.read(1 << 20):
            digest.update(data)
    assert digest.hexdigest() == hashlib.sha256(path.read_bytes()).hexdigest()
    found = store.stat("large")
    assert found is not None
    assert found.size == path.stat().st_size
    assert list(store.list("large")) == [found]


def test_a_stream_can_be_read_from_any_place(store: ObjectStore) -> None:
    table = pa.table({"a": list(range(100_000))})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=10_000)
    store.put_bytes("work/t.parquet", sink.getvalue().to_pybytes())
    with store.open("work/t.parquet") as stream:
        assert pq.read_table(stream).equals(table)
    store.put_bytes("landing/x.csv.gz", gzip.compress(b"a;b\n1;2\n" * 10_000))
    with store.open("landing/x.csv.gz") as stream, gzip.open(stream) as text:
        assert text.read() == b"a;b\n1;2\n" * 10_000


@pytest.mark.parametrize("key", ["../outside", "landing/../../outside", "/etc/passwd", "a\x00b"])
def test_a_key_never_leads_out(store: ObjectStore, key: str) -> None:
    for use in (store.open, store.stat, store.delete, store.url, lambda k: store.put_bytes(k, b"")):
        with pytest.raises(PathOutsideDelivery):
            use(key)


def test_a_missing_object_is_a_typed_error(store: ObjectStore) -> None:
    with pytest.raises(FileMissing) as raised:
        store.open("landing/h01/d1/a.csv")
    assert raised.value.file == "landing/h01/d1/a.csv"
    store.put_bytes("folder/a", b"")
    with pytest.raises(FileMissing):
        store.open("folder")
    assert store.stat("folder") is None


def test_local_files_are_kept_whole_and_leave_nothing(store: ObjectStore, store_settings: Settings) -> None:
    with local_files(store_settings, store) as local:
        path = local.path("lake/t/hospital=h01/a.parquet")
        path.parent.mkdir(parents=True)
        path.write_bytes(b"whole")
        local.keep("lake/t/hospital=h01/a.parquet")
    assert _bytes(store, "lake/t/hospital=h01/a.parquet") == b"whole"
    with local_files(store_settings, store) as local:
        assert local.fetched("lake/t/hospital=h01/a.parquet").read_bytes() == b"whole"
    assert not store_settings.scratch.exists() or not any(store_settings.scratch.iterdir())


def test_duckdb_reads_by_url_and_names_the_file(store: ObjectStore) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1, 2, 3]}), sink)
    url = store.url("lake/landed/t/hospital=h01/a.parquet")
    store.put_bytes("lake/landed/t/hospital=h01/a.parquet", sink.getvalue().to_pybytes())
    with reading(store) as duck:
        query = f"select filename, sum(a) from read_parquet([{literal(url)}], filename = true) group by 1"
        assert duck.execute(query).fetchall() == [(url, 6)]


@pytest.mark.s3
@pytest.mark.parametrize("store_settings", ["minio", "versitygw"], indirect=True)
def test_a_server_is_accepted_at_start(store_settings: Settings) -> None:
    store = S3Store(store_settings)
    store.check()
    assert not list(store.list("work/check/"))


@pytest.mark.s3
@pytest.mark.parametrize("store_settings", ["minio", "versitygw"], indirect=True)
def test_no_secret_is_shown(store_settings: Settings) -> None:
    _, secret = store_settings.s3_keys()
    store = open_store(store_settings)
    assert secret not in repr(store_settings) + str(store_settings.model_dump())
    with reading(store) as duck:
        assert secret not in str(duck.execute("from duckdb_secrets()").fetchall())
    with pytest.raises(StoreUnavailable) as raised, reading(store) as duck:
        duck.execute(f"from read_parquet({literal(store.url('lake/none.parquet'))})")
    assert secret not in str(raised.value) + str(raised.value.__cause__)
