"""A bucket of any S3 server. Only what the S3 standard has: MinIO today, another server tomorrow.

An ETag says nothing about content (it depends on how an upload was cut, and on encryption), so it is never looked at.
``x-amz-checksum-sha256`` goes with each upload and the server refuses what does not match; afterwards HEAD must name
the same length and, where the server keeps checksums, the same SHA-256. It is kept as metadata ``sha256`` too, for
servers without and for whoever reads the archive without Sanhui.
"""

import asyncio
import base64
import contextlib
import functools
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from threading import Event
from types import TracebackType
from typing import BinaryIO, Self, TypeVar, cast
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.commonconfig import ENABLED
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from minio.versioningconfig import VersioningConfig
from urllib3.response import BaseHTTPResponse

from storage.errors import (
    IntegrityError,
    ObjectNotFoundError,
    ObjectStoreError,
    StoreRefusedError,
    StoreUnavailableError,
)
from storage.objects import (
    CHUNK_BYTES,
    ObjectBody,
    S3StoreSettings,
    StoredObject,
    body_of,
    checked_key,
    checked_range,
    decoded_metadata,
    encoded_metadata,
)
from storage.s3_connection import patient_pools

T = TypeVar("T")

_CHECKSUM = "x-amz-checksum-sha256"
_META = "x-amz-meta-"
_LIST_BATCH = 500
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 3.0
_CHECK_TIMEOUT_S = 6.0
_MIN_PART = 5 * 1024 * 1024
_INSUFFICIENT_STORAGE = 507
_NOT_FOUND = {"NoSuchKey", "NoSuchObject", "NotFound"}
_TRY_AGAIN = {
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "SlowDownRead",
    "SlowDownWrite",
    "XMinioServerNotInitialized",
}
_BAD_BYTES = {"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "InvalidDigest"}


class S3Store:
    """See :class:`storage.objects.ObjectStore`. Open from ``async with`` to its end.

    Calls run in a pool of ``settings.threads`` threads of its own; callers beyond that wait. The bucket is made at the
    first call, so that the service starts while its store is away.
    """

    def __init__(self, settings: S3StoreSettings) -> None:
        self._settings = settings
        self._free_threads = asyncio.Semaphore(settings.threads)
        self._bucket_lock = asyncio.Lock()
        self._bucket_ready = False
        self._leaving = Event()
        self._threads: ThreadPoolExecutor | None = None
        self._client: Minio | None = None
        self._http: urllib3.PoolManager | None = None

    @property
    def name(self) -> str:
        """Endpoint and bucket."""
        return f"{self._settings.endpoint.rstrip('/')}/{self._settings.bucket}"

    async def __aenter__(self) -> Self:
        self._leaving = Event()
        self._http, self._client = _make_client(self._settings, self._leaving)
        self._threads = ThreadPoolExecutor(max_workers=self._settings.threads, thread_name_prefix="s3-store")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        threads, self._threads = self._threads, None
        self._leaving.set()
        if threads is not None:
            await asyncio.to_thread(threads.shutdown, wait=True, cancel_futures=True)
        if self._http is not None:
            self._http.clear()
        self._http = self._client = None

    async def put(
        self, key: str, data: bytes | ObjectBody, metadata: Mapping[str, str] | None = None, content_type: str = ""
    ) -> StoredObject:
        """One PUT (never in parts), then one HEAD that must agree."""
        checked_key(key)
        values = encoded_metadata(metadata or {})

        def upload() -> StoredObject:
            body = body_of(data)
            headers: dict[str, str | list[str] | tuple[str]] = {**values, "sha256": body.sha256}
            headers[_CHECKSUM] = base64.b64encode(bytes.fromhex(body.sha256)).decode("ascii")
            with body.open() as source:
                self._opened().put_object(
                    self._settings.bucket,
                    key,
                    cast(BinaryIO, source),
                    body.size,
                    content_type=content_type or "application/octet-stream",
                    metadata=headers,
                    part_size=max(_MIN_PART, body.size),
                )
            stored = self._head(key)
            if stored.size != body.size:
                raise IntegrityError("the store names another length", key=key, expected=body.size, found=stored.size)
            if stored.sha256 != body.sha256:
                raise IntegrityError("the store names another hash", key=key, expected=body.sha256, found=stored.sha256)
            return stored

        return await self._retried(upload, key)

    async def head(self, key: str) -> StoredObject:
        """One HEAD."""
        checked_key(key)
        return await self._retried(lambda: self._head(key), key)

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """One ranged GET."""
        checked_key(key)
        checked_range(offset, length)
        if length == 0:
            await self.head(key)
            return b""

        def download() -> bytes:
            response = self._begin(key, offset, length)
            if response is None:
                return b""
            with _closing(response):
                return response.read()

        return await self._retried(download, key)

    async def stream(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """A ranged GET, read as the caller takes the pieces; a connection that breaks is taken up where it broke."""
        checked_key(key)
        checked_range(offset, length)
        position, end = offset, None if length is None else offset + length
        failures = 0
        if length == 0:
            await self.head(key)
            return
        while end is None or position < end:
            left = None if end is None else end - position
            response = await self._retried(lambda at=position, size=left: self._begin(key, at, size), key)  # type: ignore[misc]
            if response is None:
                return
            read = functools.partial(response.read, CHUNK_BYTES)
            try:
                while piece := await self._run(read, key):
                    position += len(piece)
                    failures = 0
                    yield piece
            except StoreUnavailableError:
                failures += 1
                if failures >= self._settings.attempts:
                    raise
                await asyncio.sleep(_pause(failures))
            else:
                return
            finally:
                # Closed, not given back, unless read to its end: the rest would have to be read first.
                response.close()
                response.release_conn()

    async def delete(self, key: str) -> None:
        """One DELETE; in a bucket with versions the version stays, hidden."""
        checked_key(key)
        with contextlib.suppress(ObjectNotFoundError):
            await self._retried(lambda: self._opened().remove_object(self._settings.bucket, key), key)

    async def list(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """Pages of a listing, each fetched when the one before is used up; taken up where it breaks."""
        await self._ready_bucket()
        found, failures, last = self._listing(prefix), 0, ""
        while True:
            try:
                batch = await self._run(lambda pages=found: list(islice(pages, _LIST_BATCH)))  # type: ignore[misc]
            except StoreUnavailableError:
                failures += 1
                if failures >= self._settings.attempts:
                    raise
                await asyncio.sleep(_pause(failures))
                found = self._listing(prefix, last)
                continue
            if not batch:
                return
            failures, last = 0, batch[-1].key
            for stored in batch:
                yield stored

    async def check(self) -> None:
        """Ask for the bucket, once, whatever ``attempts`` says."""
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                await self._ready_bucket(attempts=1)
                exists = await self._run(lambda: self._opened().bucket_exists(self._settings.bucket))
        except TimeoutError:
            raise StoreUnavailableError("the store does not answer in time", store=self.name) from None
        if not exists:
            self._bucket_ready = False
            raise StoreRefusedError("the bucket is not there", store=self.name, reason="NoSuchBucket")

    def _opened(self) -> Minio:
        if self._client is None:
            raise StoreUnavailableError("the store is not open", store=self.name)
        return self._client

    def _head(self, key: str) -> StoredObject:
        found = self._opened().stat_object(self._settings.bucket, key, extra_headers={"x-amz-checksum-mode": "ENABLED"})
        headers = {name.lower(): value for name, value in (found.metadata or {}).items()}
        metadata = decoded_metadata(
            {name.removeprefix(_META): value for name, value in headers.items() if name.startswith(_META)}
        )
        sha256 = metadata.pop("sha256", "")
        if checksum := headers.get(_CHECKSUM):
            sha256 = base64.b64decode(checksum.partition("-")[0]).hex()
        return StoredObject(
            key=key, size=found.size or 0, sha256=sha256, content_type=found.content_type or "", metadata=metadata
        )

    def _begin(self, key: str, offset: int, length: int | None) -> BaseHTTPResponse | None:
        """The response of a ranged GET, unread; None if the range lies behind the object's end."""
        try:
            return self._opened().get_object(self._settings.bucket, key, offset=offset, length=length or 0)
        except S3Error as error:
            if error.code == "InvalidRange":
                return None
            raise

    def _listing(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        pages = self._opened().list_objects(
            self._settings.bucket, prefix=prefix, recursive=True, start_after=after or None
        )
        for found in pages:
            if found.object_name is not None and not found.is_dir:
                yield StoredObject(key=found.object_name, size=found.size or 0, sha256="")

    async def _ready_bucket(self, attempts: int | None = None) -> None:
        if self._bucket_ready:
            return
        async with self._bucket_lock:
            if not self._bucket_ready:
                await self._attempted(lambda: self._run(self._make_bucket), attempts or self._settings.attempts)
                self._bucket_ready = True

    def _make_bucket(self) -> None:
        client, settings = self._opened(), self._settings
        if not settings.create_bucket or client.bucket_exists(settings.bucket):
            return
        try:
            client.make_bucket(settings.bucket, settings.region, object_lock=settings.object_lock)
        except S3Error as error:
            if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise
        if settings.versioning and not settings.object_lock:
            # Object lock brings versions with it. A server without versions is good enough where none are demanded.
            with contextlib.suppress(S3Error, ServerError, InvalidResponseError):
                client.set_bucket_versioning(settings.bucket, VersioningConfig(ENABLED))

    async def _retried(self, work: Callable[[], T], key: str) -> T:
        await self._ready_bucket()
        return await self._attempted(lambda: self._run(work, key), self._settings.attempts)

    async def _attempted(self, work: Callable[[], Awaitable[T]], attempts: int) -> T:
        for attempt in range(1, attempts):
            try:
                return await work()
            except StoreUnavailableError:
                await asyncio.sleep(_pause(attempt))
        return await work()

    async def _run(self, work: Callable[[], T], key: str = "") -> T:
        threads = self._threads
        if threads is None:
            raise StoreUnavailableError("the store is not open", store=self.name)
        async with self._free_threads:
            try:
                return await asyncio.get_running_loop().run_in_executor(threads, work)
            except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
                raise self._typed(error, key) from error

    def _typed(self, error: Exception, key: str) -> ObjectStoreError:
        """Our error for the client's. Its text stays behind: it may quote headers."""
        status, code = _status(error), ""
        if isinstance(error, S3Error):
            code = error.code or ""
            if code in _NOT_FOUND and key:
                return ObjectNotFoundError(f"no object {key!r}", key=key)
            if code in _BAD_BYTES:
                return IntegrityError("the store received other bytes", key=key, expected="", found=code)
            if code == "NoSuchBucket":
                self._bucket_ready = False
        refused = status is not None and status < 500 and status not in (408, 429) and code not in _TRY_AGAIN
        if refused or status == _INSUFFICIENT_STORAGE or _bad_certificate(error):
            reason = code or (f"HTTP {status}" if status else "certificate")
            return StoreRefusedError("the store refuses", store=self.name, reason=reason)
        return StoreUnavailableError("the store does not answer", store=self.name)


def _make_client(settings: S3StoreSettings, leaving: Event) -> tuple[urllib3.PoolManager, Minio]:
    address = urlsplit(settings.endpoint)
    if address.scheme not in ("http", "https") or not address.netloc or "@" in address.netloc:
        raise StoreRefusedError(
            "an endpoint is http(s)://host:port", store=settings.endpoint.rpartition("@")[2], reason="endpoint"
        )
    secure = address.scheme == "https"
    http = urllib3.PoolManager(
        # Streams hold a connection for as long as their reader takes, beside the threads' own.
        maxsize=settings.threads * 2,
        timeout=urllib3.Timeout(connect=settings.connect_timeout_s, read=settings.read_timeout_s),
        # Attempts are counted in one place, S3Store; the pool's own would multiply with them.
        retries=urllib3.Retry(total=0, redirect=0),
        ssl_context=ssl.create_default_context(cafile=settings.ca_file) if secure else None,
    )
    http.pool_classes_by_scheme = patient_pools(settings.read_timeout_s, leaving)
    client = Minio(
        address.netloc,
        access_key=settings.access_key,
        secret_key=settings.secret_key,
        secure=secure,
        region=settings.region,
        http_client=http,
    )
    return http, client


def _pause(failures: int) -> float:
    """Seconds before the next attempt: doubling, with full jitter, so that many callers do not come back at once."""
    longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**failures)
    return random.uniform(longest / 4, longest)


def _status(error: Exception) -> int | None:
    if isinstance(error, S3Error):
        return error.response.status
    if isinstance(error, ServerError):
        return error.status_code
    if isinstance(error, InvalidResponseError):
        # An answer that is not XML, a proxy's for instance: the client shows its HTTP status in no other way.
        return int(vars(error)["_code"])
    return None


def _bad_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        reason = getattr(error, "reason", None)
        error = reason if isinstance(reason, BaseException) else error.__cause__
    return False


@contextlib.contextmanager
def _closing(response: BaseHTTPResponse) -> Iterator[None]:
    try:
        yield
    finally:
        response.close()
        response.release_conn()
