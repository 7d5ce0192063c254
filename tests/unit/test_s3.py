"""The S3 store against a server that misbehaves on purpose: lost answers, broken connections, refusals, forgotten conditions."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from estuaire.base.errors import FileMissing, SetupError, StoreRefused, StoreUnavailable
from estuaire.base.settings import Settings
from estuaire.stack import airflow, preflight
from estuaire.storage.s3 import S3Store

SECRET = "not-to-be-seen"


class Misbehaving(http.server.ThreadingHTTPServer):
    """Keeps objects in memory. ``faults`` are met one a request, in order: a status to answer, or ``lost`` (the request is carried
    out, its answer is not sent), or ``cut`` (half of the bytes). ``conditions`` False: If-None-Match is ignored."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.faults: list[int | str] = []
        self.asked: list[tuple[str, str | None]] = []
        self.conditions = True
        self.error_code = "ServiceUnavailable"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Misbehaving
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _answer(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, sent: bytes | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (
            {"Content-Length": str(len(body)), "Content-Type": "application/xml"} | (headers or {})
        ).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if sent is None else sent)

    def _error(self, status: int, code: str) -> None:
        self._answer(status, b"" if self.command == "HEAD" else f"<Error><Code>{code}</Code></Error>".encode())

    def _any(self) -> None:
        key = unquote(urlsplit(self.path).path).removeprefix("/bucket/")
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.headers.get("Range")))
        fault = self.server.faults.pop(0) if self.server.faults else None
        if isinstance(fault, int):
            self._error(fault, self.server.error_code)
            return
        there = self.server.objects.get(key)
        if self.command == "PUT":
            if there and self.server.conditions and self.headers.get("If-None-Match") == "*":
                self._error(412, "PreconditionFailed")
                return
            metadata = {n: v for n, v in self.headers.items() if n.lower().startswith("x-amz-meta-")}
            self.server.objects[key] = (data, metadata)
            if fault == "lost":
                self.close_connection = True
                return
            self._answer(200, headers={"ETag": _etag(data)})
        elif self.command == "DELETE":
            self.server.objects.pop(key, None)
            self._answer(204)
        elif there is None:
            self._error(404, "NoSuchKey")
        elif self.headers.get("If-Match") not in (None, _etag(there[0])):
            self._error(412, "PreconditionFailed")
        else:
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
            body = there[0][start:]
            headers = {"ETag": _etag(there[0]), "Last-Modified": "Wed, 01 Jan 2025 00:00:00 GMT"} | there[1]
            cut = fault == "cut"
            self._answer(206 if start else 200, body, headers, body[: len(body) // 2] if cut else None)
            self.close_connection = cut

    do_GET = do_HEAD = do_PUT = do_DELETE = _any


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'  # noqa: S324 - S3's ETag


@pytest.fixture
def server() -> Iterator[Misbehaving]:
    with Misbehaving() as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield found
        found.shutdown()


@pytest.fixture
def settings(server: Misbehaving, tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None, home=tmp_path / "home", store="s3", s3_bucket="bucket", s3_access_key="key", s3_secret_key=SECRET,
        s3_endpoint=f"http://127.0.0.1:{server.server_address[1]}",
    )  # fmt: skip


@pytest.fixture
def store(settings: Settings) -> S3Store:
    return S3Store(settings)


def test_a_busy_server_is_asked_again(server: Misbehaving, store: S3Store) -> None:
    server.faults = [503, 500]
    store.put_bytes("k", b"data")
    assert server.objects["k"][0] == b"data"
    assert len(server.asked) == 3


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its tries urllib3 waits for seconds, which tell nothing here."""
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda *_: None)


@pytest.mark.usefixtures("no_waits")
def test_a_server_that_stays_busy_is_a_retryable_error_after_bounded_tries(server: Misbehaving, store: S3Store) -> None:
    server.faults = [503] * 50
    with pytest.raises(StoreUnavailable) as raised:
        store.put_bytes("k", b"data")
    assert raised.value.retryable
    assert len(server.asked) == 7


def test_a_first_write_whose_answer_was_lost_is_known_to_be_ours(server: Misbehaving, store: S3Store) -> None:
    server.faults = ["lost"]
    assert store.put_bytes("k", b"data", if_none_match=True)
    assert not store.put_bytes("k", b"data", if_none_match=True)  # the same bytes, but somebody else's


def test_a_stream_goes_on_where_its_connection_broke(server: Misbehaving, store: S3Store) -> None:
    data = bytes(range(256)) * 20_000
    store.put_bytes("k", data)
    server.faults = ["cut", "cut"]
    with store.open("k") as stream:
        assert stream.read() == data
    ranges = [r for method, r in server.asked if method == "GET"]
    assert ranges[0] is None
    assert all(r is not None and r != "bytes=0-" for r in ranges[1:])


def test_a_stream_never_mixes_two_objects(server: Misbehaving, store: S3Store) -> None:
    store.put_bytes("k", b"a" * 4_000_000)
    server.faults = ["cut"]
    stream = store.open("k")
    store.put_bytes("k", b"b" * 4_000_000)
    with pytest.raises(StoreUnavailable), stream:
        stream.read()


@pytest.mark.parametrize(
    ("code", "status"), [("AccessDenied", 403), ("SignatureDoesNotMatch", 403), ("NoSuchBucket", 404)]
)
def test_a_refusal_is_permanent_and_says_what_to_look_at(
    server: Misbehaving, store: S3Store, code: str, status: int
) -> None:
    server.faults, server.error_code = [status], code
    with pytest.raises(StoreRefused) as raised:
        store.put_bytes("k", b"")
    assert not raised.value.retryable
    assert "ESTUAIRE_S3_" in raised.value.remedy
    assert SECRET not in str(raised.value) + repr(raised.value.__cause__)


def test_a_missing_object_is_no_outage(store: S3Store) -> None:
    assert store.stat("none") is None
    with pytest.raises(FileMissing):
        store.open("none")


def test_a_store_that_ignores_the_condition_is_refused_before_anything_starts(
    server: Misbehaving, settings: Settings
) -> None:
    assert preflight.store_problems(settings) == []
    server.conditions = False
    with pytest.raises(SetupError, match="If-None-Match"):
        S3Store(settings).check()
    [problem] = preflight.store_problems(settings)
    assert "If-None-Match" in problem.what
    assert "conditional writes" in problem.remedy
    assert server.objects == {}


@pytest.mark.usefixtures("no_waits")
def test_a_store_that_is_not_there_is_named(settings: Settings, free_port: Any) -> None:
    gone = settings.model_copy(update={"s3_endpoint": f"http://127.0.0.1:{free_port()}"})
    [problem] = preflight.store_problems(gone)
    assert gone.s3_endpoint in problem.what


def test_keys_reach_other_processes_as_files_only(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ESTUAIRE_S3_SECRET_KEY", SECRET)
    airflow.prepare(settings)
    environment = airflow.environment(settings, tmp_path)
    assert not any(SECRET in value or "****" in value for value in environment.values())
    for name in ("ESTUAIRE_S3_ACCESS_KEY", "ESTUAIRE_S3_SECRET_KEY"):
        assert name not in environment
    child = settings.model_copy(update={"s3_access_key": None, "s3_secret_key": None})
    assert child.s3_keys() == ("key", SECRET)
    assert (settings.secrets_path / "s3_secret_key").stat().st_mode & 0o077 == 0
    assert environment["ESTUAIRE_STORE"] == "s3"
    assert environment["ESTUAIRE_S3_ENDPOINT"] == settings.s3_endpoint


def test_s3_without_an_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="s3_endpoint"):
        Settings(_env_file=None, home=tmp_path, store="s3")
