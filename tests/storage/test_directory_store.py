"""What only a directory can do wrong: half-written files, a disk that is full, read-only, or unmounted."""

import errno
import hashlib
import os
import resource
import shutil
import stat
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

import pytest

from storage.directory_store import DirectoryStore
from storage.errors import (
    IntegrityError,
    ObjectNotFoundError,
    OtherStoreError,
    StoreRefusedError,
    StoreUnavailableError,
)
from storage.objects import DirectoryStoreSettings
from tests.support.faults_disk import WatchedDisk

KEY = "recordings/0f3c/000000.mp4"


async def test_an_object_is_a_plain_file_that_any_player_opens(tmp_path: Path) -> None:
    async with DirectoryStore(DirectoryStoreSettings(tmp_path)) as store:
        await store.put(KEY, b"ftyp")
    assert (tmp_path / KEY).read_bytes() == b"ftyp"


@dataclass(frozen=True)
class Written:
    """A body that is a file."""

    path: Path
    size: int
    sha256: str

    def open(self) -> RawIOBase:
        return self.path.open("rb", buffering=0)


def written(path: Path, data: bytes) -> Written:
    path.write_bytes(data)
    return Written(path, len(data), hashlib.sha256(data).hexdigest())


async def test_a_file_on_the_same_disk_is_linked_and_one_on_another_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = written(tmp_path / "written", b"moof" * 100_000)
    async with DirectoryStore(DirectoryStoreSettings(tmp_path / "store")) as store:
        await store.put(KEY, body)
        await store.put(KEY, body)  # as after a crash: it is there already
        assert (tmp_path / "store" / KEY).samefile(body.path)
        assert list((tmp_path / "store" / ".tmp").iterdir()) == []

        def another_disk(*_: object, **__: object) -> None:
            raise OSError(errno.EXDEV, "Invalid cross-device link")

        monkeypatch.setattr(os, "link", another_disk)
        await store.put(KEY, body)
        assert not (tmp_path / "store" / KEY).samefile(body.path)
        assert await store.get(KEY) == body.path.read_bytes()
        assert await store.head(KEY) == await store.put(KEY, body)


async def test_a_share_that_has_neither_links_nor_rights_nor_a_sync_for_folders_is_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    def cannot(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", cannot)
    monkeypatch.setattr(Path, "chmod", cannot)
    body = written(tmp_path / "written", b"moof" * 100)
    async with DirectoryStore(DirectoryStoreSettings(tmp_path / "share")) as store:
        stored = await store.put(KEY, body)
        assert await store.head(KEY) == stored
        assert await store.get(KEY) == b"moof" * 100


async def test_a_file_of_another_length_is_not_linked(tmp_path: Path) -> None:
    body = written(tmp_path / "written", b"moof" * 100)
    body.path.write_bytes(b"moof" * 99)
    async with DirectoryStore(DirectoryStoreSettings(tmp_path / "store")) as store:
        with pytest.raises(IntegrityError):
            await store.put(KEY, body)


async def test_what_did_not_arrive_whole_is_not_there_when_it_is_looked_for_again(tmp_path: Path) -> None:
    body = written(tmp_path / "written", b"moof" * 100)
    damaged = Written(body.path, body.size, body.sha256)
    body.path.write_bytes(b"moov" * 100)
    async with DirectoryStore(DirectoryStoreSettings(tmp_path / "store")) as store:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("storage.directory_store._link_synced", lambda *_: False)
            with pytest.raises(IntegrityError):
                await store.put(KEY, damaged)
        with pytest.raises(ObjectNotFoundError):
            await store.head(KEY)
        assert [stored.key async for stored in store.list()] == []


async def test_the_facts_of_what_was_to_replace_an_object_do_not_speak_for_it(tmp_path: Path) -> None:
    """The power went between the two renames: facts are the new ones, data the old."""
    async with DirectoryStore(DirectoryStoreSettings(tmp_path)) as store:
        await store.put(KEY, b"the manifest")
        old = (tmp_path / KEY).read_bytes()
        await store.put(KEY, b"the manifest, with one gap more")
        (tmp_path / KEY).unlink()
        (tmp_path / KEY).write_bytes(old)
        assert (await store.head(KEY)).sha256 == ""


@pytest.mark.parametrize("renames", [0, 1])
async def test_replacing_that_is_cut_off_leaves_nothing_that_says_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    """A manifest that says another minute is as long as the one it replaces."""
    before, after = b"ends at 09:59", b"ends at 10:01"
    real, done = os.replace, 0

    def replace(source: Path, target: Path) -> None:
        nonlocal done
        if done == renames:
            raise OSError(errno.EIO, "Input/output error")
        done += 1
        real(source, target)

    async with DirectoryStore(DirectoryStoreSettings(tmp_path)) as store:
        await store.put(KEY, before)
        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", replace)
            with pytest.raises(StoreUnavailableError):
                await store.put(KEY, after)
        found = await store.head(KEY)
        assert found.sha256 in ("", hashlib.sha256(await store.get(KEY)).hexdigest())
        await store.put(KEY, after)
        assert (await store.head(KEY)).sha256 == hashlib.sha256(after).hexdigest()
        assert await store.get(KEY) == after


async def test_what_is_found_lasts_though_its_put_was_killed_before_it_could_see_to_that(tmp_path: Path) -> None:
    disk = WatchedDisk(tmp_path)
    async with DirectoryStore(DirectoryStoreSettings(tmp_path)) as store:
        await store.put(KEY, b"ftyp")
        with disk.watching():
            assert (await store.head(KEY)).size == 4
            (synced,) = [done.path for done in disk.log if done.what == "sync-folder"]
            with pytest.raises(ObjectNotFoundError):
                await store.head(KEY + "x")
    assert synced == str((tmp_path / KEY).parent)


async def test_what_a_crash_left_half_written_is_no_object(tmp_path: Path) -> None:
    async with DirectoryStore(DirectoryStoreSettings(tmp_path)) as store:
        await store.put(KEY, b"whole")
        # A crash between the two renames: facts are there, data is not.
        (tmp_path / "recordings/0f3c/000001.mp4").unlink(missing_ok=True)
        shutil.copy(tmp_path / "recordings/0f3c/.000000.mp4.json", tmp_path / "recordings/0f3c/.000001.mp4.json")
        (tmp_path / ".tmp" / "half").write_bytes(b"hal")

        with pytest.raises(ObjectNotFoundError):
            await store.head("recordings/0f3c/000001.mp4")
        assert [stored.key async for stored in store.list()] == [KEY]


async def test_left_over_temporary_files_go_at_the_next_start(tmp_path: Path) -> None:
    settings = DirectoryStoreSettings(tmp_path)
    async with DirectoryStore(settings):
        old, fresh = tmp_path / ".tmp" / "old", tmp_path / ".tmp" / "fresh"
        old.write_bytes(b"x")
        fresh.write_bytes(b"x")
        os.utime(old, (0, 0))
    async with DirectoryStore(settings):
        assert not old.exists()
        assert fresh.exists()  # another process may be writing it


async def test_nothing_is_left_beside_the_object_after_a_put(tmp_path: Path) -> None:
    async with DirectoryStore(DirectoryStoreSettings(tmp_path)) as store:
        await store.put(KEY, b"x")
        await store.check()
        assert list((tmp_path / ".tmp").iterdir()) == []
        await store.delete(KEY)
        assert sorted(os.listdir(tmp_path)) == [".sanhui-store", ".tmp"]


async def test_a_disk_that_was_unmounted_is_not_written_to(tmp_path: Path) -> None:
    root = tmp_path / "mount"
    async with DirectoryStore(DirectoryStoreSettings(root)) as store:
        await store.put(KEY, b"x")
        root.rename(tmp_path / "elsewhere")
        root.mkdir()

        # What is on it is not gone, and nobody is told so.
        for ask in (store.put(KEY, b"y"), store.delete(KEY), store.check(), store.get(KEY), store.head(KEY)):
            with pytest.raises(OtherStoreError):
                await ask
        for pieces in (store.stream(KEY), store.list()):
            with pytest.raises(OtherStoreError):
                _ = [piece async for piece in pieces]
        assert list(root.iterdir()) == []

        root.rmdir()
        (tmp_path / "elsewhere").rename(root)
        assert await store.get(KEY) == b"x"
        await store.check()


async def test_a_disk_that_was_not_mounted_at_the_start_is_not_written_to(tmp_path: Path) -> None:
    root = tmp_path / "mount"
    async with DirectoryStore(DirectoryStoreSettings(root)) as store:
        await store.put(KEY, b"x")
        marker = store.marker
    root.rename(tmp_path / "elsewhere")
    for begun in (DirectoryStoreSettings(root, True, marker), DirectoryStoreSettings(root, begun=True)):
        root.mkdir(exist_ok=True)
        async with DirectoryStore(begun) as store:
            for ask in (store.put(KEY, b"y"), store.delete(KEY), store.check(), store.get(KEY), store.head(KEY)):
                with pytest.raises(OtherStoreError):
                    await ask
            assert list(root.iterdir()) == []

            root.rmdir()
            with pytest.raises(OtherStoreError):
                await store.put(KEY, b"y")
            assert not root.exists()
    (tmp_path / "elsewhere").rename(root)
    async with DirectoryStore(DirectoryStoreSettings(root, True, marker)) as store:
        await store.check()
        assert await store.get(KEY) == b"x"


async def test_another_store_is_not_taken_for_this_one(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    async with DirectoryStore(DirectoryStoreSettings(ours)) as store, DirectoryStore(DirectoryStoreSettings(other)):
        marker = store.marker
        ours.rename(tmp_path / "elsewhere")
        other.rename(ours)
        with pytest.raises(OtherStoreError):
            await store.put(KEY, b"x")
    async with DirectoryStore(DirectoryStoreSettings(ours, True, marker)) as store:
        with pytest.raises(OtherStoreError):
            await store.get(KEY)
        # Whoever means it says so.
        (ours / ".sanhui-store").write_bytes(b"")
        await store.put(KEY, b"x")
    async with DirectoryStore(DirectoryStoreSettings(ours, True, marker)) as store:
        assert await store.get(KEY) == b"x"


async def test_a_marker_of_before_ids_is_taken_and_gets_one(tmp_path: Path) -> None:
    (tmp_path / ".sanhui-store").write_text("Objects of Sanhui. Do not remove this file: it tells.\n")
    async with DirectoryStore(DirectoryStoreSettings(tmp_path, begun=True)) as store:
        marker = store.marker
        await store.check()
    assert len(marker) == 32
    async with DirectoryStore(DirectoryStoreSettings(tmp_path)) as store:
        assert store.marker == marker


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((StoreRefusedError, StoreUnavailableError)):
        async with DirectoryStore(DirectoryStoreSettings(tmp_path / "file" / "objects")):
            pass


async def test_a_file_that_may_not_grow_leaves_nothing_behind(tmp_path: Path) -> None:
    """A quota of the process stands for a full disk: the error comes in the middle of a write in the same way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with DirectoryStore(DirectoryStoreSettings(tmp_path)) as store:
        await store.put(KEY, b"before")
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            with pytest.raises(StoreRefusedError) as caught:
                await store.put(KEY, bytes(200_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert caught.value.params == {"store": str(tmp_path), "reason": "EFBIG"}
        assert await store.get(KEY) == b"before"
        assert list((tmp_path / ".tmp").iterdir()) == []


async def test_a_file_that_was_put_there_by_hand(tmp_path: Path) -> None:
    async with DirectoryStore(DirectoryStoreSettings(tmp_path)) as store:
        (tmp_path / "by-hand.mp4").write_bytes(b"1234")
        head = await store.head("by-hand.mp4")
    assert (head.size, head.sha256) == (4, "")


async def test_a_folder_is_not_an_object(tmp_path: Path) -> None:
    async with DirectoryStore(DirectoryStoreSettings(tmp_path)) as store:
        await store.put(KEY, b"x")
        for ask in (store.head("recordings"), store.get("recordings"), store.get(KEY + "/deeper")):
            with pytest.raises(ObjectNotFoundError):
                await ask
