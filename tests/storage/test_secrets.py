"""Camera passwords at rest."""

import os
import stat
from pathlib import Path

import pytest

from storage.errors import SecretError
from storage.secrets import SecretBox, SecretKeys
from tests.support.faults_disk import WatchedDisk

PASSWORD = "p@ss:w/o rd汉字%"


def test_what_is_sealed_opens_again_and_cannot_be_read() -> None:
    box = SecretBox(SecretKeys.generate())

    sealed = box.seal(PASSWORD, "camera-1")

    assert PASSWORD not in sealed
    assert box.open(sealed, "camera-1") == PASSWORD
    assert box.seal(PASSWORD, "camera-1") != sealed  # a fresh nonce each time


def test_no_password_stays_none() -> None:
    box = SecretBox(SecretKeys.generate())
    assert box.seal("", "camera-1") == ""
    assert box.open("", "camera-1") == ""


def test_a_secret_does_not_open_for_another_camera_or_with_another_key() -> None:
    keys = SecretKeys.generate()
    sealed = SecretBox(keys).seal(PASSWORD, "camera-1")

    with pytest.raises(SecretError):
        SecretBox(keys).open(sealed, "camera-2")
    with pytest.raises(SecretError):
        SecretBox(SecretKeys.generate()).open(sealed, "camera-1")


@pytest.mark.parametrize("change", [lambda s: s[:-2], lambda s: s[:-6] + "AAAA==", lambda s: "v2" + s[2:],
                                    lambda _: "plain", lambda s: s + "!", lambda s: s[:13]])  # fmt: skip
def test_an_altered_secret_does_not_open(change: object) -> None:
    box = SecretBox(SecretKeys.generate())
    assert callable(change)
    with pytest.raises(SecretError) as caught:
        box.open(change(box.seal(PASSWORD, "camera-1")), "camera-1")
    assert PASSWORD not in str(caught.value)


def test_rotation_opens_the_old_and_seals_with_the_new() -> None:
    old = SecretKeys.generate()
    sealed = SecretBox(old).seal(PASSWORD, "camera-1")
    box = SecretBox(old.rotated())

    assert box.open(sealed, "camera-1") == PASSWORD
    fresh = box.seal(PASSWORD, "camera-1")
    with pytest.raises(SecretError):
        SecretBox(old).open(fresh, "camera-1")


def test_the_key_file_is_its_owners_alone_and_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "secret.key"

    keys = SecretKeys.load_or_create(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SecretKeys.load_or_create(path) == keys
    rotated = keys.rotated()
    rotated.save(path, replace=True)
    assert SecretKeys.load(path) == rotated
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["secret.key"]


def test_the_key_file_is_there_after_a_power_cut(tmp_path: Path) -> None:
    disk = WatchedDisk(tmp_path)
    with disk.watching():
        SecretKeys.load_or_create(tmp_path / "secret.key")
    made = [done.what for done in disk.log]
    assert made.index("sync") < made.index("sync-folder"), "the key, then its name"
    named = max(index for index, done in enumerate(disk.log) if done.what == "link")
    assert named < made.index("sync-folder")


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    SecretKeys.generate().save(path)
    path.chmod(0o644)
    with pytest.raises(SecretError):
        SecretKeys.load(path)


@pytest.mark.parametrize("text", ["", "\n", "abc", "id:", "id:AAAA", "bad id:" + "A" * 43 + "=", "i:" + "汉" * 44])
def test_what_is_no_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(SecretError) as caught:
        SecretKeys.from_text(text)
    assert "AAAA" not in str(caught.value) + str(caught.value.params)


def test_keys_as_text(tmp_path: Path) -> None:
    keys = SecretKeys.generate().rotated()
    assert SecretKeys.from_text(keys.to_text()) == keys
    assert SecretKeys.from_text(keys.to_text().replace("\n", ",")) == keys
    assert "=" not in repr(keys).partition("keys")[2]
