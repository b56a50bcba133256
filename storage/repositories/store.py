"""What is known of the object store itself."""

from sqlalchemy import delete, insert, select

from storage.models import StoreMarkerRow
from storage.repositories.base import Repository


class StoreMarkerRepository(Repository):
    """Which directory objects are in."""

    kind = "store marker"

    async def known(self) -> str:
        """The id in its marker file; ``""`` if none is known."""
        return (await self._execute(select(StoreMarkerRow.marker))).scalars().first() or ""

    async def remember(self, marker: str) -> None:
        """In the place of what was known."""
        await self._changed(delete(StoreMarkerRow))
        await self._execute(insert(StoreMarkerRow).values(marker=marker))
