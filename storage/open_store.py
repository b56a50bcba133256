"""Which object store is meant: the one place that knows all members."""

from contextlib import AbstractAsyncContextManager

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
