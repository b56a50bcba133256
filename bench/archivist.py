"""Who looks for the benches: an archivist of the whole county."""

import asyncio
from datetime import UTC, datetime

from argon2 import PasswordHasher

from storage.database import Database
from storage.records import Role, User, new_id

USERNAME, PASSWORD = "bench", "Bench-horse-42"


async def add_archivist(database: Database) -> None:
    """The person's row. Raises ConflictError if it is there."""
    now = datetime.now(UTC)
    person = User(
        id=new_id(),
        username=USERNAME,
        display_name="bench",
        password_hash=await asyncio.to_thread(PasswordHasher().hash, PASSWORD),
        role=Role.ARCHIVIST,
        password_changed_at=now,
        created_at=now,
    )
    async with database.transaction() as repos:
        await repos.users.add(person)
