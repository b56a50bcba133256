"""What only S3 can do wrong: a server that is away, slow, lies, or refuses."""

import asyncio
import base64
import contextlib
import hashlib
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from storage.errors import IntegrityError, StoreRefusedError, StoreUnavailableError
from storage.objects import S3StoreSettings
from storage.open_store import open_store
from tests.storage.conftest import s3_settings
from tests.support.servers import running
from tools.go_programs import MINIO, VERSITYGW
from tools.s3_servers import MinioServer, S3Server, VersityServer

KEY = "recordings/0f3c/000000.mp4"


@pytest.fixture(params=["minio", "versitygw"])
def own_server(request: pytest.FixtureRequest) -> Iterator[S3Server]:
    """A server that the test may stop."""
    kind, program = (MinioServer, MINIO) if request.param == "minio" else (VersityServer, VERSITYGW)
    with running(kind, program) as server:
        yield server


@pytest.fixture(params=["minio", "versitygw"])
def shared_server(request: pytest.FixtureRequest) -> S3Server:
    """A server that stays up."""
    server: S3Server = request.getfixturevalue(request.param)
    return server


async def test_a_store_that_goes_away_and_comes_back(own_server: S3Server) -> None:
    async with open_store(s3_settings(own_server)) as store:
        await store.put(KEY, b"before")
        own_server.stop()

        started = time.monotonic()
        for ask in (store.put(KEY, b"x"), store.head(KEY), store.get(KEY), store.delete(KEY), store.check()):
            with pytest.raises(StoreUnavailableError) as caught:
                await ask
            assert caught.value.retryable
            assert own_server.secret_key not in str(caught.value) + str(caught.value.params)
        with pytest.raises(StoreUnavailableError):
            await anext(store.stream(KEY))
        with pytest.raises(StoreUnavailableError):
            await anext(store.list())
        assert time.monotonic() - started < 30

        await asyncio.to_thread(own_server.start)
        assert await store.get(KEY) == b"before"
        await store.put(KEY, b"after")
        await store.check()


async def test_a_service_may_start_before_its_store(own_server: S3Server) -> None:
    own_server.stop()
    async with open_store(s3_settings(own_server)) as store:
        with pytest.raises(StoreUnavailableError):
            await store.put(KEY, b"x")
        await asyncio.to_thread(own_server.start)
        await store.put(KEY, b"x")
        assert await store.get(KEY) == b"x"


async def test_refused_credentials(shared_server: S3Server) -> None:
    for changes in ({"access_key": "nobody"}, {"secret_key": "wrong-secret"}):
        async with open_store(s3_settings(shared_server, **changes)) as store:
            for ask in (store.put(KEY, b"x"), store.get(KEY), store.check()):
                with pytest.raises(StoreRefusedError) as caught:
                    await ask
                assert "wrong-secret" not in str(caught.value) + str(caught.value.params)


async def test_a_missing_bucket_is_refused_unless_it_may_be_made(shared_server: S3Server) -> None:
    async with open_store(s3_settings(shared_server, create_bucket=False)) as store:
        with pytest.raises(StoreRefusedError):
            await store.put(KEY, b"x")
        with pytest.raises(StoreRefusedError):
            await store.check()


@pytest.mark.parametrize("lock", [False, True])
async def test_a_bucket_with_versions(shared_server: S3Server, lock: bool) -> None:
    settings = s3_settings(shared_server, versioning=True, object_lock=lock)
    async with open_store(settings) as store:
        await store.put(KEY, b"first")
        await store.put(KEY, b"second")
        assert await store.get(KEY) == b"second"
        await store.delete(KEY)
        assert [stored.key async for stored in store.list()] == []


async def test_an_endpoint_must_be_an_address() -> None:
    settings = S3StoreSettings(endpoint="ftp://user:secret@host", bucket="b", access_key="a", secret_key="s")
    with pytest.raises(StoreRefusedError) as caught:
        async with open_store(settings):
            pass
    assert "secret" not in str(caught.value) + str(caught.value.params)


Handler = Callable[[bytes, asyncio.StreamWriter], object]


@contextlib.asynccontextmanager
async def scripted(answer: Handler) -> AsyncIterator[str]:
    """A server that answers each request's head as the test says; its endpoint. For answers no real server gives."""

    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        await reader.readexactly(int(line.partition(b":")[2]))
                result = answer(head, writer)
                if asyncio.iscoroutine(result):
                    await result
                await writer.drain()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


def impatient(endpoint: str) -> S3StoreSettings:
    """Settings for a scripted server whose bucket is there."""
    return S3StoreSettings(
        endpoint=endpoint, bucket="bucket", access_key="key", secret_key="secret-of-the-store",
        create_bucket=False, connect_timeout_s=0.5, read_timeout_s=0.5,
    )  # fmt: skip


async def test_a_server_that_never_answers() -> None:
    async def silence(_head: bytes, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with scripted(silence) as endpoint, open_store(impatient(endpoint)) as store:
        started = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            await store.get(KEY)
        assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("status", "error"),
    [("502 Bad Gateway", StoreUnavailableError), ("404 Not Found", StoreRefusedError), ("200 OK", None)],
)
async def test_a_server_that_is_not_s3(status: str, error: type[Exception] | None) -> None:
    page = b"<html>nginx</html>"
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {len(page)}\r\n\r\n".encode()

    async with scripted(lambda _head, w: w.write(head + page)) as endpoint:
        async with open_store(replace(impatient(endpoint), create_bucket=True)) as store:
            with pytest.raises(error or IntegrityError):
                await store.put(KEY, b"thirteen bytes")


@contextlib.asynccontextmanager
async def thin_line(
    data: bytes, piece: int, pause_s: float, *, held_bytes: int = 0
) -> AsyncIterator[tuple[str, list[int]]]:
    """A server that takes ``data`` a piece at a time; its endpoint, and how much it has taken so far of each.

    ``held_bytes``: what its kernel takes ahead of it, if not as much as it likes; the rest stays in the sender's.
    """
    taken: list[int] = []
    listening = socket.create_server(("127.0.0.1", 0))
    if held_bytes:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, held_bytes)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"PUT"):
                    taken.append(0)
                    while taken[-1] < len(data):
                        taken[-1] += len(await reader.readexactly(piece))
                        await asyncio.sleep(pause_s)
                digest = base64.b64encode(hashlib.sha256(data).digest())
                length = b"0" if head.startswith(b"PUT") else str(len(data)).encode()
                writer.write(
                    b'HTTP/1.1 200 OK\r\nETag: "0"\r\nx-amz-checksum-sha256: %b\r\nContent-Length: %b\r\n\r\n'
                    % (digest, length)
                )
                await writer.drain()

    server = await asyncio.start_server(serve, sock=listening, limit=piece)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", taken
        server.close()


async def test_a_line_that_is_thin_costs_time_and_no_object() -> None:
    """All of it takes longer than a server may take to be connected; no part of it takes longer than it may."""
    data = os.urandom(24 * 1024 * 1024)
    async with thin_line(data, 1024 * 1024, 0.05) as (endpoint, taken):
        settings = replace(impatient(endpoint), connect_timeout_s=0.3, read_timeout_s=30.0, attempts=1)
        async with open_store(settings) as store:
            assert (await store.put(KEY, data)).size == len(data)
    assert taken == [len(data)]


async def test_the_time_for_an_answer_begins_when_the_line_has_taken_all() -> None:
    """The sender's kernel holds megabytes when the last of an object is handed to it."""
    data = os.urandom(4 * 1024 * 1024)
    async with thin_line(data, 32 * 1024, 0.02, held_bytes=64 * 1024) as (endpoint, taken):
        async with open_store(replace(impatient(endpoint), read_timeout_s=1.0, attempts=1)) as store:
            assert (await store.put(KEY, data)).size == len(data)
    assert taken == [len(data)]


async def test_a_connection_that_is_reset_behind_an_object_is_found_out_at_once() -> None:
    data = os.urandom(4 * 1024 * 1024)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # So much that the sender's kernel has the rest.
        await reader.readexactly(len(data) // 2)
        await asyncio.sleep(0.5)
        writer.transport.abort()

    async with await asyncio.start_server(serve, sock=listening, limit=64 * 1024) as server:
        endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with open_store(replace(impatient(endpoint), read_timeout_s=300.0, attempts=1)) as store:
            async with asyncio.timeout(60):
                with pytest.raises(StoreUnavailableError):
                    await store.put(KEY, data)
        server.close()


async def test_who_leaves_does_not_wait_until_a_thin_line_has_taken_all() -> None:
    data = os.urandom(24 * 1024 * 1024)
    async with thin_line(data, 64 * 1024, 0.02) as (endpoint, taken):
        async with open_store(replace(impatient(endpoint), read_timeout_s=30.0)) as store:
            putting = asyncio.create_task(store.put(KEY, data))
            async with asyncio.timeout(20):
                while not any(taken):  # noqa: ASYNC110 - the server's own loop
                    await asyncio.sleep(0.01)
            putting.cancel()
            await asyncio.gather(putting, return_exceptions=True)
        assert taken[0] < len(data)


async def test_a_server_without_room_says_so_in_whatever_words() -> None:
    refusal = b"HTTP/1.1 507 Insufficient Storage\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n"
    async with scripted(lambda _head, w: w.write(refusal)) as endpoint, open_store(impatient(endpoint)) as store:
        with pytest.raises(StoreRefusedError) as caught:
            await store.put(KEY, b"x")
        assert caught.value.params["reason"] == "HTTP 507"


async def test_attempts_are_counted_and_end() -> None:
    asked: list[bytes] = []
    refusal = b"HTTP/1.1 503 Slow Down\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n"

    def slow_down(head: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(head)
        writer.write(refusal)

    async with scripted(slow_down) as endpoint, open_store(impatient(endpoint)) as store:
        with pytest.raises(StoreUnavailableError):
            await store.get(KEY)
        assert len(asked) == 3
        asked.clear()
        with pytest.raises(StoreUnavailableError):
            await store.check()
        assert len(asked) == 1


async def test_a_store_that_keeps_fewer_bytes_than_it_was_given() -> None:
    def forgetful(head: bytes, writer: asyncio.StreamWriter) -> None:
        length = b"5" if head.startswith(b"HEAD") else b"0"
        writer.write(b'HTTP/1.1 200 OK\r\nETag: "0"\r\nContent-Length: ' + length + b"\r\n\r\n")

    async with scripted(forgetful) as endpoint, open_store(impatient(endpoint)) as store:
        with pytest.raises(IntegrityError) as caught:
            await store.put(KEY, b"ten bytes!")
        assert caught.value.params == {"key": KEY, "expected": 10, "found": 5}


async def test_a_stream_that_breaks_is_taken_up_where_it_broke() -> None:
    data = os.urandom(1_000_000)
    asked: list[int] = []

    def breaking(head: bytes, writer: asyncio.StreamWriter) -> None:
        start = int(head.lower().partition(b"range: bytes=")[2].partition(b"-")[0] or 0)
        asked.append(start)
        answer = f"HTTP/1.1 206 Partial Content\r\nContent-Length: {len(data) - start}\r\n\r\n".encode()
        writer.write(answer + data[start : start + 400_000])
        if start + 400_000 < len(data):
            writer.close()

    async with scripted(breaking) as endpoint, open_store(impatient(endpoint)) as store:
        got = b"".join([piece async for piece in store.stream(KEY)])

    assert got == data
    assert asked[0] == 0
    assert len(asked) > 2


async def test_a_listing_that_breaks_is_taken_up_where_it_broke(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten years of a county are some ten thousand pages; one of them may find the server busy."""
    monkeypatch.setattr("storage.s3_store._LIST_BATCH", 4)
    keys = [f"recordings/0f3c/{number:06d}.mp4" for number in range(10)]
    asked: list[str] = []
    shaky = True

    def listing(head: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal shaky
        query = parse_qs(urlsplit(head.split(b" ")[1].decode()).query)
        after = (query.get("continuation-token") or query.get("start-after") or [""])[0]
        asked.append(after)
        if after == keys[5] and shaky:
            shaky = False
            writer.write(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n")
            return
        left = [key for key in keys if key > after]
        page = left[:3]
        more = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if len(left) > 3 else ""
        items = "".join(f'<Contents><Key>{key}</Key><Size>7</Size><ETag>"0"</ETag></Contents>' for key in page)
        body = (
            f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name>'
            f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated>{more}{items}</ListBucketResult>"
        ).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )

    async with scripted(listing) as endpoint, open_store(impatient(endpoint)) as store:
        assert [stored.key async for stored in store.list("recordings/")] == keys
    assert asked.count(keys[5]) == 1, "from the last that the caller has, not from where the server was"
