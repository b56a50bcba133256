"""What all commands share: settings read with a sentence for a wrong one, async work run, errors told."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import uvloop
from rich.console import Console
from rich.markup import escape

from storage.database import Database
from storage.urls import require_file
from web.config import LogFormat, LogLevel, Settings
from web.errors import SettingsError
from web.interpreter import settle_interpreter
from web.logging import configure_logging
from web.messages import Catalog, load_catalogs
from web.problems import TYPED_ERRORS
from web.settings_source import load_settings

T = TypeVar("T")

console = Console()
complaints = Console(stderr=True)


class Refusal(click.ClickException):
    """An error told in a sentence, without a trace."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Print the sentence."""
        complaints.print(f"[bold red]✗[/] {escape(self.message)}", highlight=False)


def read_settings(config: Path | None, **overrides: Any) -> Settings:
    """The settings in force, or the sentence that says which one is wrong."""
    try:
        return load_settings(os.environ, config, **overrides)
    except SettingsError as error:
        raise Refusal(told(error)) from None


def told(error: SettingsError) -> str:
    """The sentence in the language of the terminal; the other one below it."""
    chinese = os.environ.get("SANHUI_LANGUAGE", "zh-CN") != "en"
    order = ("zh-CN", "en") if chinese else ("en", "zh-CN")
    return "\n  ".join(error.sentences[language] for language in order)


def run(work: Callable[[], Awaitable[T]], settings: Settings) -> T:
    """Run async work; a typed error becomes a sentence."""

    async def main() -> T:
        return await work()

    settle_interpreter()
    try:
        return uvloop.run(main())
    except SettingsError as error:
        raise Refusal(told(error)) from None
    except TYPED_ERRORS as error:
        notice = load_catalogs(settings.language).of(settings.language).notice(error.code, error.params)
        raise Refusal(f"{notice.title}\n  {notice.detail}\n  ({error.code}: {error})") from None
    except OSError as error:
        if error.filename is None:
            raise
        raise Refusal(_unusable(error)) from error


def _unusable(error: OSError) -> str:
    """A file or folder that settings name and that cannot be used."""
    place, reason = error.filename, error.strerror
    return (
        f"用不了 {place}：{reason}。请检查设置里的路径，以及权限和磁盘。\n"
        f"  {place} cannot be used: {reason}. Check the path in the settings, its permissions and the disk."
    )


@contextlib.asynccontextmanager
async def opened_database(settings: Settings) -> AsyncIterator[Database]:
    """The database, where there is one: in the wrong place a command would make an empty one, and believe it. Raises
    DatabaseError."""
    await asyncio.to_thread(require_file, settings.database_address)
    async with Database(settings.database_address) as database:
        yield database


def catalog_for(settings: Settings) -> Catalog:
    """The sentences of the terminal."""
    return load_catalogs(settings.language).of(settings.language)


config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="TOML file with settings; else the one that SANHUI_CONFIG names.",
)


def quiet_log() -> None:
    """For commands that talk to a person: only warnings, on the terminal."""
    configure_logging(LogLevel.WARNING, LogFormat.CONSOLE)
