"""Which object store is meant: the one place that knows all members."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from storage.database import Database
from storage.directory_store import DirectoryStore
from storage.objects import DirectoryStoreSettings, ObjectStore, StoreSettings
from storage.s3_store import S3Store


def open_store(settings: StoreSettings) -> AbstractAsyncContextManager[ObjectStore]:
    """The store that ``settings`` describe: ``async with open_store(settings) as store``.

    Entering creates the directory, or starts the client's threads; it does not need the S3 server to be there.
    """
    if isinstance(settings, DirectoryStoreSettings):
        return DirectoryStore(settings)
    return S3Store(settings)


@contextlib.asynccontextmanager
async def open_store_of(database: Database, settings: StoreSettings) -> AsyncIterator[ObjectStore]:
    """The store of the objects that ``database`` knows, as :func:`open_store`. Once it knows any, none is begun anew:
    a disk that is not mounted, or a server without its own, must not get the next ones.

    Raises DatabaseError.
    """
    async with database.read() as repos:
        begun, marker = await repos.objects.any(), await repos.store_marker.known()
    if not isinstance(settings, DirectoryStoreSettings):
        async with open_store(replace(settings, create_bucket=settings.create_bucket and not begun)) as store:
            yield store
        return
    async with DirectoryStore(replace(settings, begun=begun, marker=marker)) as store:
        if store.marker not in ("", marker):
            async with database.transaction() as repos:
                await repos.store_marker.remember(store.marker)
        yield store
