"""The object store on S3, through the minio SDK: bounded retries, typed errors, nothing overwritten by accident.

Whatever reads files by itself gets the same address and keys: DuckDB by ``S3Store.open_to``, Spark by ``estuaire.storage.s3a``.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from estuaire.base.errors import EstuaireError, FileMissing, SetupError, StoreRefused, StoreUnavailable
from estuaire.base.settings import Settings
from estuaire.storage.duck import REFUSED_REMEDY, load_extension
from estuaire.storage.object_store import ObjectInfo, Unfinished, checked_key

RETRIES = 6  # of one request: after 0, 0.5, 1, 2, 4 and 4 s
REOPENED = 3  # times that one read may lose its connection, retries of the request apart
TIMEOUT_SECONDS = 20.0  # without a byte: MinIO lets a request hang that comes while it starts
PART_BYTES = 16 << 20  # of a multipart upload; S3 takes 10,000 parts, so 160 GB
_MARK = "x-amz-meta-estuaire-upload"
_PASSING = {"ConditionalRequestConflict", "OperationAborted", "PreconditionFailed", "RequestTimeout", "SlowDown"}
_PASSING_STATUS = {408, 409, 412, 425, 429}
_BROKEN = (urllib3.exceptions.HTTPError, InvalidResponseError, ServerError, OSError)


@lru_cache(maxsize=8)
def _client(endpoint: str, region: str, access_key: str, secret_key: str) -> Any:
    """One client, so one pool of connections, for each store and process."""
    address = urlsplit(endpoint)
    pool = urllib3.PoolManager(
        maxsize=16,
        timeout=urllib3.Timeout(connect=5.0, read=TIMEOUT_SECONDS),
        retries=urllib3.Retry(
            total=RETRIES,
            backoff_factor=0.25,
            backoff_max=4.0,
            status_forcelist=(500, 502, 503, 504),
            raise_on_status=False,
        ),
    )
    return Minio(
        endpoint=address.netloc,
        access_key=access_key,
        secret_key=secret_key,
        secure=address.scheme == "https",
        region=region,
        http_client=pool,
    )


@contextmanager
def _typed(key: str) -> Iterator[None]:
    """What went wrong with a request, in our words.

    Raises:
        FileMissing: there is no such object.
        StoreRefused: it answered and refused (a 403, whoever says it: the store or a proxy before it): trying again is of no use.
        StoreUnavailable: it did not answer, or only for the moment.
    """
    try:
        yield
    except S3Error as error:
        raise _meaning(error, key) from error
    except _BROKEN as error:
        status = _status(error)
        if 400 <= status < 500 and status not in _PASSING_STATUS:
            raise _refused(f"HTTP {status}", key) from error
        raise StoreUnavailable(
            f"the object store does not answer ({type(error).__name__})",
            file=key,
            remedy="look at the store (`estuaire up` checks it), then run again",
        ) from error


def _meaning(error: Any, key: str) -> EstuaireError:
    status = error.response.status if error.response is not None else 0
    if error.code in ("NoSuchKey", "NoSuchObject"):
        return FileMissing("the store has no such object", file=key, remedy="deliver the file again")
    if status >= 500 or error.code in _PASSING:
        return StoreUnavailable(
            f"the object store could not answer ({error.code})", file=key, remedy="wait, then run again"
        )
    if error.code == "NoSuchBucket":
        return StoreRefused("the bucket does not exist", remedy="create it, or name another in ESTUAIRE_S3_BUCKET")
    return _refused(error.code, key)


def _refused(how: str, key: str) -> StoreRefused:
    return StoreRefused(f"the object store refused the request ({how})", file=key, remedy=REFUSED_REMEDY)


def _status(error: BaseException) -> int:
    """The answer's status, of an answer that is not S3's own (a proxy's page, an empty body); 0 where there was none."""
    return int(getattr(error, "status_code", 0) or getattr(error, "_code", 0) or 0)


class S3Store:
    """A bucket as object store."""

    def __init__(self, settings: Settings) -> None:
        self.bucket = settings.s3_bucket
        self._endpoint, self._region = urlsplit(settings.s3_endpoint), settings.s3_region
        self._keys = settings.s3_keys()
        self.client = _client(settings.s3_endpoint, settings.s3_region, *self._keys)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with _typed(prefix):  # the SDK asks for a page of 1,000 keys at a time
            for item in self.client.list_objects(self.bucket, prefix=prefix, recursive=True):
                if not item.object_name.endswith("/"):
                    yield _info(item.object_name, item)

    walk = list

    def stat(self, key: str) -> ObjectInfo | None:
        try:
            minio_object = self._head(key)
        except FileMissing:
            return None
        return _info(key, minio_object)

    def _head(self, key: str) -> Any:
        checked_key(key)
        with _typed(key):
            return self.client.stat_object(self.bucket, key)

    def open(self, key: str) -> BinaryIO:
        checked_key(key)
        return cast(BinaryIO, io.BufferedReader(_ObjectStream(self.client, self.bucket, key), 1 << 20))

    def put_file(self, key: str, source: Path) -> None:
        checked_key(key)
        with _typed(key):  # in several parts where it is larger than one; it appears whole
            self.client.fput_object(self.bucket, key, str(source), part_size=PART_BYTES)

    def put_bytes(self, key: str, data: bytes, *, if_none_match: bool = False) -> bool:
        checked_key(key)
        upload = uuid.uuid4().hex
        headers = {"Content-Type": "application/octet-stream", _MARK: upload}
        if if_none_match:
            headers["If-None-Match"] = "*"

        def store() -> None:
            with _typed(key):  # not put_object: it takes no header of ours but metadata
                self.client._put_object(self.bucket, key, data, headers)

        try:
            _while_another_writes(store)
        except StoreUnavailable as error:
            if _code(error) != "PreconditionFailed":
                raise
            # it may be our own: stored at a try whose answer was lost
            return bool(self._head(key).metadata.get(_MARK) == upload)
        return True

    def delete(self, key: str) -> None:
        checked_key(key)
        try:
            with _typed(key):
                self.client.remove_object(self.bucket, key)
        except FileMissing:
            pass

    def unfinished(self, prefix: str, before: float) -> Iterator[Unfinished]:
        after = None
        while True:
            with _typed(prefix):
                page = self.client._list_multipart_uploads(
                    self.bucket, prefix=prefix, key_marker=after, encoding_type="url"
                )
            for one in page.uploads:
                if one.initiated_time is not None and one.initiated_time.timestamp() < before:
                    yield Unfinished(one.object_name, one.upload_id)
            after = page.next_key_marker
            if not page.is_truncated or not after:
                return

    def abandon(self, upload: Unfinished) -> None:
        try:
            with _typed(upload.key):
                self.client._abort_multipart_upload(self.bucket, checked_key(upload.key).as_posix(), upload.upload)
        except StoreRefused as error:
            if _code(error) != "NoSuchUpload":  # it has ended meanwhile
                raise

    def url(self, key: str) -> str:
        return f"s3://{self.bucket}/{checked_key(key)}"

    def local_path(self, key: str) -> Path | None:
        return None

    def open_to(self, connection: Any) -> None:
        """Load httpfs and hand it the keys, as parameters: no error and no log of DuckDB repeats them."""
        load_extension(connection, "httpfs")
        connection.execute(
            "create or replace secret estuaire_store (type s3, key_id ?, secret ?, region ?, endpoint ?, use_ssl ?, "
            "url_style 'path', scope ?)",
            [
                *self._keys,
                self._region,
                self._endpoint.netloc,
                self._endpoint.scheme == "https",
                f"s3://{self.bucket}/",
            ],
        )
        connection.execute(
            f"set http_retries = {RETRIES}; set http_retry_backoff = 2; set http_timeout = {TIMEOUT_SECONDS:.0f}"
        )

    def ensure_bucket(self) -> bool:
        """Make the bucket where there is none; True when it was made. Raises StoreRefused, StoreUnavailable."""
        with _typed(""):
            if self.client.bucket_exists(self.bucket):
                return False
            try:
                self.client.make_bucket(self.bucket, location=self._region)
            except S3Error as error:
                if error.code != "BucketAlreadyOwnedByYou":  # another `init` at the same moment
                    raise
            return True

    def check(self) -> None:
        """Whether the bucket is there and a second writer of a key is refused: a delivery's manifest counts on it.

        Raises:
            SetupError: the store ignores ``If-None-Match``.
            StoreRefused, StoreUnavailable.
        """
        key = f"work/check/{uuid.uuid4().hex}"
        try:
            first = self.put_bytes(key, b"first", if_none_match=True)
            second = self.put_bytes(key, b"second", if_none_match=True)
        finally:
            self.delete(key)
        if not first or second:
            raise SetupError(
                "the object store ignores If-None-Match: two deliveries of one name would overwrite each other",
                remedy="use a store that knows conditional writes (AWS S3, MinIO, versitygw), in a version that does",
            )


def _code(error: EstuaireError) -> str:
    """What S3 calls it; empty where there was no answer."""
    return str(getattr(error.__cause__, "code", ""))


def _info(key: str, minio_object: Any) -> ObjectInfo:
    modified = minio_object.last_modified.timestamp() if minio_object.last_modified else 0.0
    return ObjectInfo(key, minio_object.size, _version(minio_object.etag), modified)


def _version(etag: str | None) -> str:
    return (etag or "").strip('"')


_while_another_writes = Retrying(
    stop=stop_after_attempt(RETRIES + 1),
    wait=wait_exponential(multiplier=0.2),
    retry=retry_if_exception(lambda e: isinstance(e, StoreUnavailable) and _code(e) == "ConditionalRequestConflict"),
    reraise=True,
)
_while_lost = Retrying(  # PreconditionFailed: another object has this key now
    stop=stop_after_attempt(REOPENED + 1),
    wait=wait_exponential(multiplier=0.25),
    retry=retry_if_exception(lambda e: isinstance(e, StoreUnavailable) and _code(e) != "PreconditionFailed"),
    reraise=True,
)


class _ObjectStream(io.RawIOBase):
    """The bytes of an object, seekable; a connection that breaks is opened again where it broke, as long as the object is the same."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self._client, self._bucket, self._key = client, bucket, key
        self._at = 0
        self._etag = ""
        self._response: Any = self._connect()
        self._size, self._etag = int(self._response.headers["content-length"]), self._response.headers["etag"]

    def _connect(self) -> Any:
        same = {"If-Match": self._etag} if self._etag else None
        with _typed(self._key):
            return self._client.get_object(self._bucket, self._key, offset=self._at, request_headers=same)

    def _disconnect(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        target = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if target != self._at:
            self._disconnect()
            self._at = target
        return target

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        data = _while_lost(self._read, wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _read(self, wanted: int) -> bytes:
        try:
            with _typed(self._key):
                if self._response is None:
                    self._response = self._connect()
                data: bytes = self._response.read(wanted)
                if not data:
                    raise urllib3.exceptions.ProtocolError("the answer ends early")
            return data
        except StoreUnavailable:
            self._disconnect()
            raise

    def close(self) -> None:
        self._disconnect()
        super().close()
