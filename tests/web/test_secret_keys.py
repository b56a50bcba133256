"""The key file that camera passwords are sealed with: made once, missed loudly, changed without losing anything."""

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from storage.database import Database
from storage.errors import SecretKeyLostError
from storage.records import Camera
from storage.repositories.county import CameraRepository
from storage.secrets import SecretBox, SecretKeys
from storage.sole_service import SoleService
from tests.support.rows import NOON
from tests.web.conftest import fill, run, settings
from web.cli import main
from web.config import Settings

PASSWORDS = {"cam-east": "p@ss:/汉字", "cam-west": "another"}


async def _furnish(house: Settings) -> None:
    """A first start, and a camera with a password in each hall."""
    async with run(house) as service:
        await fill(service.services)
        async with service.services.database.transaction() as repos:
            for camera_id, password in PASSWORDS.items():
                camera = Camera(
                    id=camera_id, site_id=f"hall-{camera_id[4:]}", name="会议室", url="rtsp://127.0.0.1:9/x",
                    username="admin", password_encrypted=service.services.secrets.seal(password, camera_id),
                    created_at=NOON, updated_at=NOON,
                )  # fmt: skip
                await repos.cameras.add(camera)


async def _opened(house: Settings, keys: SecretKeys) -> dict[str, str]:
    async with Database(house.database_address) as database, database.read() as repos:
        places = await repos.cameras.places()
    box = SecretBox(keys)
    return {place.camera.id: box.open(place.camera.password_encrypted, place.camera.id) for place in places}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a service that has run, which commands find in the environment."""
    found = settings(tmp_path)
    monkeypatch.setenv("SANHUI_DATA_DIR", str(found.data_dir))
    asyncio.run(_furnish(found))
    return found


def _command(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["secrets", *arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return (result.output if code == 0 else result.stderr).replace("\n", "")


def test_a_first_start_makes_the_key_file(house: Settings) -> None:
    assert house.key_file.exists()
    assert asyncio.run(_opened(house, SecretKeys.load(house.key_file))) == PASSWORDS


def test_a_missing_key_file_stops_the_start_and_is_not_made_anew(house: Settings) -> None:
    house.key_file.unlink()

    async def start() -> None:
        async with run(house):
            pass

    with pytest.raises(SecretKeyLostError) as caught:
        asyncio.run(start())
    assert caught.value.params == {"path": str(house.key_file), "count": 2}
    assert not house.key_file.exists()


def test_the_start_says_in_a_sentence_what_to_do(house: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    house.key_file.unlink()
    for port in ("HTTP", "RTSP", "WEBRTC"):
        monkeypatch.setenv(f"SANHUI_{port}_PORT", "0")
    process = subprocess.run(
        [sys.executable, "-m", "web.cli", "serve"], capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode == 2, process
    told = process.stderr.replace("\n", "")
    assert str(house.key_file) in told
    assert "sanhui secrets new-key" in told
    assert "Traceback" not in process.stderr + process.stdout


def test_going_on_without_the_key_lists_what_to_enter_and_loses_nothing(house: Settings) -> None:
    kept = house.key_file.read_text()
    assert "还在" in _command("new-key", code=2)
    assert house.key_file.read_text() == kept
    house.key_file.unlink()
    told = _command("new-key")
    assert told.count("会议室") == 2
    assert "东村党支部" in told

    async def start() -> None:
        async with run(house) as service:
            assert service.services.wanted.is_unreadable("cam-east")

    asyncio.run(start())
    # The old file turns up after all.
    house.key_file.write_text(house.key_file.read_text() + kept)
    assert asyncio.run(_opened(house, SecretKeys.load(house.key_file))) == PASSWORDS


def test_a_changed_key_opens_all_and_the_old_one_nothing(house: Settings) -> None:
    old = SecretKeys.load(house.key_file)
    assert "2 个密码已重新加密" in _command("rotate")
    both = SecretKeys.load(house.key_file)
    assert both.current != old.current
    assert set(old.keys) < set(both.keys)
    assert house.key_file.stat().st_mode & 0o077 == 0
    fresh = SecretKeys(both.current, {both.current: both.keys[both.current]})
    assert asyncio.run(_opened(house, fresh)) == PASSWORDS

    async def audited() -> list[object]:
        async with Database(house.database_address) as database, database.read() as repos:
            return [entry.detail.get("count") for entry in await repos.audit.page(action="secrets.rotate")]

    assert asyncio.run(audited()) == [2]


def test_a_change_that_breaks_off_leaves_every_password_readable(
    house: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = SecretKeys.load(house.key_file)
    reseal, calls = CameraRepository.reseal, list[str]()

    async def failing(self: CameraRepository, camera_id: str, before: str, after: str) -> bool:
        calls.append(camera_id)
        if len(calls) == 2:
            raise OSError(5, "Input/output error", "sanhui.db")
        return await reseal(self, camera_id, before, after)

    monkeypatch.setattr(CameraRepository, "reseal", failing)
    _command("rotate", code=2)
    assert asyncio.run(_opened(house, SecretKeys.load(house.key_file))) == PASSWORDS
    assert asyncio.run(_opened(house, old)) == PASSWORDS


def test_a_password_set_meanwhile_is_not_overwritten(house: Settings) -> None:
    async def race() -> bool:
        async with Database(house.database_address) as database, database.transaction() as repos:
            return await repos.cameras.reseal("cam-east", "another one", "v1.x.y")

    assert not asyncio.run(race())
    assert asyncio.run(_opened(house, SecretKeys.load(house.key_file))) == PASSWORDS


def test_the_key_is_left_alone_while_the_service_runs(house: Settings) -> None:
    """It goes on with the keys that it has read: what is sealed with another it could not open, and no camera of it."""
    kept = house.key_file.read_text()

    async def beside() -> None:
        async with run(house) as service:
            assert "正在运行" in await asyncio.to_thread(_command, "rotate", code=2)
            await service.services.county.refresh()
            assert not service.services.wanted.is_unreadable("cam-east")
            # Lost meanwhile: the service that runs goes on sealing with it.
            house.key_file.unlink()
            assert "正在运行" in await asyncio.to_thread(_command, "new-key", code=2)
            assert not house.key_file.exists()

    asyncio.run(beside())
    house.key_file.touch(0o600)
    house.key_file.write_text(kept)
    _command("rotate")
    assert asyncio.run(_opened(house, SecretKeys.load(house.key_file))) == PASSWORDS


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_an_administrator_leaves_the_file_to_the_service(house: Settings) -> None:
    for path in (house.data_dir, *house.data_dir.rglob("*")):
        os.chown(path, 65_534, 65_533)
    _command("rotate")
    found = house.key_file.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (65_534, 65_533, 0o600)
    house.key_file.unlink()
    _command("new-key")
    found = house.key_file.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (65_534, 65_533, 0o600)


def test_names_are_shown_as_they_are(house: Settings) -> None:
    """Square brackets are no markup of the terminal's."""

    async def rename() -> None:
        async with Database(house.database_address) as database, database.transaction() as repos:
            camera = (await repos.cameras.places())[0].camera
            await repos.cameras.update(replace(camera, name="[east][/]"))

    asyncio.run(rename())
    house.key_file.unlink()
    assert "[east][/]" in _command("new-key")


def test_a_service_that_is_begun_again_and_again_holds_nothing_up(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that restarts by itself, on PostgreSQL: it has the database until it misses its key."""
    chosen = settings(tmp_path, database_url=postgres_url)
    monkeypatch.setenv("SANHUI_DATA_DIR", str(chosen.data_dir))
    monkeypatch.setenv("SANHUI_DATABASE_URL", postgres_url)
    asyncio.run(_furnish(chosen))
    chosen.key_file.unlink()

    async def beside() -> None:
        async with SoleService(postgres_url):
            command = asyncio.create_task(asyncio.to_thread(_command, "new-key"))
            await asyncio.sleep(1.0)
        assert (await command).count("会议室") == 2

    asyncio.run(beside())
    monkeypatch.setattr("web.cli_secrets._PAUSES_S", (0.1,))

    async def held() -> None:
        async with SoleService(postgres_url):
            assert "正在运行" in await asyncio.to_thread(_command, "rotate", code=2)

    asyncio.run(held())
