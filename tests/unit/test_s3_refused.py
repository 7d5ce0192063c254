"""A11: a store, or a proxy before it, that answers 403 refuses for good, whatever is asked: trying again is of no use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from estuaire.base.errors import EstuaireError, StoreRefused, StoreUnavailable
from estuaire.base.settings import Settings
from estuaire.storage import duck
from estuaire.storage.s3 import S3Store

S3_SAYS = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>no</Message><RequestId>1</RequestId></Error>"
ANSWERS = {
    "S3's own": (403, "application/xml", S3_SAYS),
    "a proxy's page": (403, "text/html", b"<html>forbidden</html>"),
    "an empty body": (403, "application/xml", b""),
    "who are you": (401, "text/plain", b"no"),
}


def serving(status: int, kind: str, body: bytes) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def store_at(tmp_path: Path) -> Iterator[Callable[..., S3Store]]:
    servers: list[ThreadingHTTPServer] = []

    def make(answer: tuple[int, str, bytes]) -> S3Store:
        servers.append(serving(*answer))
        return S3Store(
            Settings(
                _env_file=None, home=tmp_path, store="s3", s3_endpoint=f"http://127.0.0.1:{servers[-1].server_port}",
                s3_access_key="a", s3_secret_key="b",
            )
        )  # fmt: skip

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def operations(store: S3Store, file: Path) -> dict[str, Callable[[], object]]:
    file.write_bytes(b"x")
    return {
        "list": lambda: list(store.list("landing/")),
        "walk": lambda: list(store.walk("landing/")),
        "stat": lambda: store.stat("k"),
        "open": lambda: store.open("k").read(),
        "put_file": lambda: store.put_file("k", file),
        "put_bytes": lambda: store.put_bytes("k", b"x"),
        "put_bytes if new": lambda: store.put_bytes("k", b"x", if_none_match=True),
        "delete": lambda: store.delete("k"),
        "check": store.check,
    }


@pytest.mark.parametrize("name", ANSWERS)
def test_a_refusal_is_permanent_and_says_what_to_do_whatever_was_asked(
    name: str, store_at: Callable[..., S3Store], tmp_path: Path
) -> None:
    told = {}
    for operation, ask in operations(store_at(ANSWERS[name]), tmp_path / "f").items():
        with pytest.raises(EstuaireError) as raised:
            ask()
        told[operation] = type(raised.value)
        if type(raised.value) is StoreRefused:
            assert "policy" in raised.value.remedy
            assert not raised.value.retryable
    # a HEAD has no body: of a 401 the SDK makes no S3 error, but a status all the same
    assert set(told.values()) == {StoreRefused}, told


def test_what_passes_is_still_waited_for(store_at: Callable[..., S3Store]) -> None:
    store = store_at((429, "text/plain", b"slow down"))
    with pytest.raises(StoreUnavailable):
        list(store.list("landing/"))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("HTTP GET error on 's3://b/k' (HTTP 403)", StoreRefused),
        ("HTTP Error: Unable to connect to URL http://x/k: 403 (Forbidden).", StoreRefused),
        ("software.amazon.awssdk...S3Exception: no (Service: S3, Status Code: 403, Request ID: 4)", StoreRefused),
        ("java.nio.file.AccessDeniedException: s3://b/k", StoreRefused),
        ("HTTP GET error on 's3://b/k-4031' (HTTP 503)", StoreUnavailable),
        ("Could not establish connection error for HTTP HEAD to 'http://x'", StoreUnavailable),
    ],
)
def test_what_duckdb_and_spark_tell_of_a_refusal_is_one(text: str, kind: type[EstuaireError]) -> None:
    assert type(duck.store_error(text)) is kind


def test_duckdb_that_is_refused_says_so(store_at: Callable[..., S3Store]) -> None:
    store = store_at(ANSWERS["S3's own"])

    def read() -> None:
        with duck.reading(store) as connection:
            connection.execute("set http_retries = 0")
            connection.execute(f"select * from read_parquet('{store.url('k.parquet')}')").fetchall()

    with pytest.raises(StoreRefused):
        read()
