"""One suite for every object store: a directory, MinIO, VersityGW."""

import asyncio
import contextlib
import os

import pytest

from storage.errors import InvalidKeyError, ObjectNotFoundError
from storage.objects import CHUNK_BYTES, ObjectStore, StoreSettings
from storage.open_store import open_store
from tests.support.rows import digest

KEY = "recordings/0f3c/000000.mp4"


async def test_what_is_put_is_confirmed_and_comes_back(store: ObjectStore) -> None:
    data = os.urandom(6_000_000)  # beyond 5 MiB, where clients begin to cut uploads into parts
    metadata = {"meeting": "第四季度支部党员大会 / 100%", "camera": "石桥村·主席台", "start": "2026-11-21T04:00:00Z"}

    stored = await store.put(KEY, data, metadata, "video/mp4")

    assert (stored.key, stored.size) == (KEY, len(data))
    head = await store.head(KEY)
    assert head == stored
    assert head.metadata == metadata
    assert head.content_type == "video/mp4"
    assert len(head.sha256) == 64
    assert await store.get(KEY) == data


async def test_the_hash_is_that_of_the_bytes(store: ObjectStore) -> None:
    stored = await store.put(KEY, b"three meetings")

    assert stored.sha256 == digest("three meetings")
    assert (await store.head(KEY)).sha256 == digest("three meetings")


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (0, 4, b"0123"),
        (3, 4, b"3456"),
        (8, 100, b"89"),
        (9, 1, b"9"),
        (10, None, b""),
        (50, 3, b""),
        (4, 0, b""),
    ],
)
async def test_ranges(store: ObjectStore, offset: int, length: int | None, expected: bytes) -> None:
    await store.put(KEY, b"0123456789")

    assert await store.get(KEY, offset, length) == expected
    async with contextlib.aclosing(store.stream(KEY, offset, length)) as pieces:  # type: ignore[type-var]
        assert b"".join([piece async for piece in pieces]) == expected


async def test_a_stream_comes_in_bounded_pieces_and_may_be_left_early(store: ObjectStore) -> None:
    data = os.urandom(3 * CHUNK_BYTES + 17)
    await store.put(KEY, data)

    pieces = [piece async for piece in store.stream(KEY, 5)]

    assert b"".join(pieces) == data[5:]
    assert max(map(len, pieces)) <= CHUNK_BYTES
    for _ in range(20):  # more often than there are threads and connections
        async with contextlib.aclosing(store.stream(KEY)) as some:  # type: ignore[type-var]
            assert await anext(some) == data[: len(pieces[0])]
    assert await store.get(KEY, 0, 3) == data[:3]


async def test_an_empty_object(store: ObjectStore) -> None:
    stored = await store.put(KEY, b"")

    assert stored.size == 0
    assert await store.get(KEY) == b""


async def test_a_second_put_replaces_the_first(store: ObjectStore) -> None:
    await store.put(KEY, b"the longer one, first", {"n": "1"})
    await store.put(KEY, b"second", {"n": "2"}, "text/plain")

    assert await store.get(KEY) == b"second"
    head = await store.head(KEY)
    assert (head.size, head.metadata, head.sha256) == (6, {"n": "2"}, digest("second"))


async def test_listing_is_ordered_and_bounded_by_the_prefix(store: ObjectStore) -> None:
    keys = ["a-b", "a/1.mp4", "a/2.mp4", "a/2/3.mp4", "ab/1.mp4", "b"]
    for key in reversed(keys):
        await store.put(key, key.encode())

    listed = [stored async for stored in store.list()]

    assert [stored.key for stored in listed] == sorted(keys)
    assert [stored.size for stored in listed] == [len(key) for key in sorted(keys)]
    assert [stored.key async for stored in store.list("a/")] == ["a/1.mp4", "a/2.mp4", "a/2/3.mp4"]
    assert [stored.key async for stored in store.list("a/2")] == ["a/2.mp4", "a/2/3.mp4"]
    assert [stored.key async for stored in store.list("nothing/here")] == []


async def test_deleting_is_final_and_may_be_repeated(store: ObjectStore) -> None:
    await store.put(KEY, b"x")
    await store.put("recordings/0f3c/000001.mp4", b"y")

    await store.delete(KEY)
    await store.delete(KEY)
    await store.delete("recordings/never/was.mp4")

    with pytest.raises(ObjectNotFoundError):
        await store.head(KEY)
    assert [stored.key async for stored in store.list()] == ["recordings/0f3c/000001.mp4"]


async def test_what_is_not_there(store: ObjectStore) -> None:
    for ask in (store.head(KEY), store.get(KEY), store.get(KEY, 5, 3), store.get(KEY, 5, 0)):
        with pytest.raises(ObjectNotFoundError) as caught:
            await ask
        assert caught.value.params == {"key": KEY}
    with pytest.raises(ObjectNotFoundError):
        await anext(store.stream(KEY))


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "../outside", "a/../../outside", "a//b", "a/", ".hidden", "a/.b.json", "a\\b", "汉字", "a b",
     "a\nb", "a\x00b", "x" * 600, "a/" + "y" * 250],
)  # fmt: skip
async def test_bad_keys_are_refused_by_every_verb(store: ObjectStore, key: str) -> None:
    for ask in (store.put(key, b""), store.head(key), store.get(key), store.delete(key)):
        with pytest.raises(InvalidKeyError):
            await ask
    with pytest.raises(InvalidKeyError):
        await anext(store.stream(key))


async def test_metadata_that_is_too_long_is_shortened_rather_than_lost(store: ObjectStore) -> None:
    await store.put(KEY, b"x", {"title": "关于" * 2000, "camera": "主席台"})

    metadata = (await store.head(KEY)).metadata

    assert metadata["camera"] == "主席台"
    assert metadata["title"].startswith("关于关于关于")


async def test_many_at_once(store: ObjectStore) -> None:
    async def write(number: int) -> None:
        await store.put(f"many/{number:03d}", f"{number}".encode() * 1000)

    await asyncio.gather(*(write(number) for number in range(40)))

    assert [stored.key async for stored in store.list("many/")] == [f"many/{number:03d}" for number in range(40)]
    read = await asyncio.gather(*(store.get(f"many/{number:03d}") for number in range(40)))
    assert read == [f"{number}".encode() * 1000 for number in range(40)]


async def test_a_store_that_is_well_passes_its_check(store: ObjectStore) -> None:
    await store.check()
    assert [stored.key async for stored in store.list()] == []


async def test_objects_outlive_the_process(store_settings: StoreSettings) -> None:
    async with open_store(store_settings) as store:
        await store.put(KEY, b"kept", {"camera": "石桥村"})
    async with open_store(store_settings) as store:
        assert await store.get(KEY) == b"kept"
        assert (await store.head(KEY)).metadata == {"camera": "石桥村"}
