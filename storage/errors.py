"""Errors of the storage layer.

StorageError
├── ObjectStoreError
│   ├── ObjectNotFoundError     no object of that key
│   ├── InvalidKeyError         a key that no store may take (traversal, empty, too long)
│   ├── StoreUnavailableError   the store does not answer, or not in time: worth trying again
│   │   └── OtherStoreError     what answers is not the store that the database knows: a disk is not mounted
│   ├── StoreRefusedError       the store answers, and says no (access key, bucket, no space): a person must act
│   └── IntegrityError          the store holds other bytes than were given to it
├── DatabaseError
│   ├── DatabaseAbsentError       there is no database where it should be
│   ├── DatabaseUnavailableError  the database does not answer: worth trying again
│   ├── DatabaseInUseError        another service records with it
│   ├── MigrationNeededError      the schema is not the one this version needs
│   ├── DatabaseNewerError        the schema is one that this version does not know
│   ├── RecordNotFoundError       no such row
│   └── ConflictError             the row breaks a rule: a name taken, a row still in use
└── SecretError                 a stored secret that no key at hand opens
    └── SecretKeyError          a key file that cannot be used

Every error has a ``code`` (kebab-case, stable: message catalogs and API clients know it by that name) and ``params``
(what the sentence for the person needs; never a secret).
"""

from typing import ClassVar


class StorageError(Exception):
    """Base of all errors of this package. ``retryable`` says whether waiting alone can help."""

    code: ClassVar[str] = "storage-error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **params: str | int | float) -> None:
        super().__init__(message)
        self.params = params


class ObjectStoreError(StorageError):
    """Base of what an object store raises."""

    code = "object-store-error"


class ObjectNotFoundError(ObjectStoreError):
    """No object of that key. ``params``: ``key``."""

    code = "object-not-found"


class InvalidKeyError(ObjectStoreError):
    """A key that is empty, too long, or could leave the store. ``params``: ``key``."""

    code = "object-key-invalid"


class StoreUnavailableError(ObjectStoreError):
    """The store does not answer, or not in time. ``params``: ``store``."""

    code = "store-unavailable"
    retryable = True


class OtherStoreError(StoreUnavailableError):
    """What is there is not the store that the database's objects are in: its disk is not mounted, or another one is.
    ``params``: ``store``."""

    code = "store-other"


class StoreRefusedError(ObjectStoreError):
    """The store answers and refuses. ``params``: ``store``, ``reason`` (the store's own code)."""

    code = "store-refused"


class IntegrityError(ObjectStoreError):
    """What the store holds is not what was given to it. ``params``: ``key``, ``expected``, ``found``."""

    code = "object-integrity"


class DatabaseError(StorageError):
    """Base of what the database raises."""

    code = "database-error"


class DatabaseAbsentError(DatabaseError):
    """There is no database where it should be. ``params``: ``database`` (its file)."""

    code = "database-absent"


class DatabaseUnavailableError(DatabaseError):
    """The database does not answer. ``params``: ``database`` (its address without password)."""

    code = "database-unavailable"
    retryable = True


class DatabaseInUseError(DatabaseError):
    """Another service records with this database. ``params``: ``database`` (its address without password)."""

    code = "database-in-use"
    retryable = True


class MigrationNeededError(DatabaseError):
    """The schema is not the one this version needs. ``params``: ``found``, ``needed`` (revisions)."""

    code = "database-migration-needed"


class DatabaseNewerError(DatabaseError):
    """The schema is one that this version does not know: a newer one made it. ``params``: ``found``, ``needed``."""

    code = "database-newer"


class RecordNotFoundError(DatabaseError):
    """No such row. ``params``: ``kind``, ``id``."""

    code = "record-not-found"


class ConflictError(DatabaseError):
    """A row that breaks a rule of the schema: taken already, or still in use. ``params``: ``rule``."""

    code = "record-conflict"


class SecretError(StorageError):
    """A stored secret cannot be opened: its key is not at hand, or it was altered. ``params``: ``key_id``."""

    code = "secret-unreadable"


class SecretKeyError(SecretError):
    """A key file that cannot be used: it is none, or others may read it. ``params``: ``path``."""

    code = "secret-key-unusable"


class SecretKeyLostError(SecretError):
    """There is no key file, yet the database holds what was sealed. ``params``: ``path``, ``count`` (of secrets)."""

    code = "secret-key-lost"
