"""The keys that camera passwords are sealed with: read, made where nothing is sealed yet, never made anew silently."""

import asyncio
from pathlib import Path

from storage.database import Database
from storage.errors import SecretKeyLostError
from storage.secrets import SecretKeys


def read_keys(path: Path) -> SecretKeys | None:
    """The keys of a file; None where there is no file. Raises SecretKeyError. Blocks."""
    try:
        return SecretKeys.load(path)
    except FileNotFoundError:
        return None


async def first_keys(path: Path, database: Database) -> SecretKeys:
    """Make the key file of a fresh installation. Raises SecretKeyLostError where something is sealed already: a new key
    would open nothing of it, and what is sealed from then on would hide that the old one is missed."""
    async with database.read() as repos:
        sealed = await repos.cameras.count_sealed()
    if sealed:
        raise SecretKeyLostError("the key file is missing", path=str(path), count=sealed)
    return await asyncio.to_thread(SecretKeys.load_or_create, path)
