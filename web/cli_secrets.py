"""Commands for the key file that camera passwords are sealed with. For a service that does not run."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from media.clock import SystemClock
from recorder.errors import SpoolInUseError
from recorder.spool import unused_spool
from storage.database import Database
from storage.errors import DatabaseInUseError, SecretError
from storage.records import AuditEntry, CameraPlace
from storage.repositories import Repositories
from storage.secrets import SecretBox, SecretKeys
from storage.sole_service import SoleService
from web.access.audit import Audit
from web.config import Settings
from web.secret_keys import read_keys
from web.terminal import Refusal, config_option, console, opened_database, quiet_log, read_settings, run

_PAUSES_S = (0.5, 1.0, 2.0, 4.0)


@click.group()
def secrets() -> None:
    """The key that camera passwords are encrypted with."""


@secrets.command("new-key")
@config_option
def new_key(config: Path | None) -> None:
    """Go on without a lost key file: make a new one, and tell whose passwords have to be entered again.

    What the lost key sealed stays as it is: if the file is found after all, add its line to the new one.
    """
    settings = read_settings(config)
    quiet_log()
    places = run(lambda: _make_new(settings), settings)
    console.print(f"[green]✓[/] {escape(str(settings.key_file))}")
    if places:
        _tell(places, "请在“摄像机”页重新填写这些摄像机的密码 · enter the passwords of these cameras again")


@contextlib.asynccontextmanager
async def _no_service_beside(settings: Settings) -> AsyncIterator[Database]:
    """The database, of a service that does not run: one that does goes on with the keys that it has read, and would
    let go of each camera whose password it cannot open any more."""
    async with opened_database(settings) as database, contextlib.AsyncExitStack() as stack:
        await database.check()
        try:
            stack.enter_context(unused_spool(settings.spool_path))
            await _become_the_only_one(SoleService(settings.database_address), stack)
        except (SpoolInUseError, DatabaseInUseError):
            raise Refusal(
                "三会服务正在运行，密钥没有改动。请先停止服务，再运行此命令，完成后再启动。\n"
                "  The service is running, and the key was left alone. Stop it first, and start it afterwards."
            ) from None
        yield database


async def _become_the_only_one(sole: SoleService, stack: contextlib.AsyncExitStack) -> None:
    """A service without its key file may be begun again and again, and have the database for a moment each time."""
    for pause_s in _PAUSES_S:
        with contextlib.suppress(DatabaseInUseError):
            await stack.enter_async_context(sole)
            return
        await asyncio.sleep(pause_s)
    await stack.enter_async_context(sole)


async def _make_new(settings: Settings) -> list[CameraPlace]:
    path = settings.key_file
    async with _no_service_beside(settings) as database:
        if await asyncio.to_thread(path.exists):
            raise Refusal(
                f"密钥文件 {path} 还在，没有改动；要更换密钥请运行 sanhui secrets rotate。\n"
                f"  The key file {path} is there and was left alone; sanhui secrets rotate changes the key."
            )
        keys = await asyncio.to_thread(SecretKeys.load_or_create, path)
        async with database.transaction() as repos:
            _, lost = _opened(await repos.cameras.places(), SecretBox(keys))
            await repos.audit.add(_entry("secrets.new-key", len(lost)))
    return lost


@secrets.command()
@config_option
def rotate(config: Path | None) -> None:
    """Make a new key and encrypt all passwords with it. Stop the service first.

    The old key stays in the file, below the new one: it opens backups of the database from before. Stream passwords of
    decoders are other ones from the next start on.
    """
    settings = read_settings(config)
    quiet_log()
    count, lost = run(lambda: _rotate(settings), settings)
    console.print(f"[green]✓[/] {escape(str(settings.key_file))}  {count} 个密码已重新加密 · passwords encrypted anew")
    if lost:
        _tell(lost, "这些摄像机的密码没有密钥能读，请重新填写 · no key opens these, enter them again")


async def _rotate(settings: Settings) -> tuple[int, list[CameraPlace]]:
    path = settings.key_file
    async with _no_service_beside(settings) as database:
        keys = await asyncio.to_thread(read_keys, path)
        if keys is None:
            raise Refusal(f"没有密钥文件 {path} · there is no key file {path}")
        # The new key is on disk before anything is sealed with it, beside the one that opens what is not yet.
        rotated = keys.rotated()
        await asyncio.to_thread(lambda: rotated.save(path, replace=True))
        box = SecretBox(rotated)
        async with database.transaction() as repos:
            texts, lost = _opened(await repos.cameras.places(), box)
            count = sum([await _reseal(repos, place, text, box) for place, text in texts])
            await repos.audit.add(_entry("secrets.rotate", count))
    return count, lost


async def _reseal(repos: Repositories, place: CameraPlace, text: str, box: SecretBox) -> bool:
    camera = place.camera
    return await repos.cameras.reseal(camera.id, camera.password_encrypted, box.seal(text, camera.id))


def _opened(places: tuple[CameraPlace, ...], box: SecretBox) -> tuple[list[tuple[CameraPlace, str]], list[CameraPlace]]:
    """Cameras with their passwords, and those whose password no key opens."""
    texts: list[tuple[CameraPlace, str]] = []
    lost: list[CameraPlace] = []
    for place in places:
        if not place.camera.password_encrypted:
            continue
        try:
            texts.append((place, box.open(place.camera.password_encrypted, place.camera.id)))
        except SecretError:
            lost.append(place)
    return texts, lost


def _tell(places: list[CameraPlace], what: str) -> None:
    console.print(f"[yellow]![/] {what}")
    table = Table("组织 organization", "场所 site", "摄像机 camera")
    for place in places:
        table.add_row(*(escape(item.name) for item in (place.organization, place.site, place.camera)))
    console.print(table)


def _entry(action: str, count: int) -> AuditEntry:
    return Audit(SystemClock()).entry(None, action, "secrets", "terminal", username="sanhui", detail={"count": count})
