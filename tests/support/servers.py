"""Fixtures: real PostgreSQL, MinIO and VersityGW, each started once for the whole run.

Where one cannot be had, the tests that ask for it are skipped and name the one command that helps; with ``CI=true`` or
``SANHUI_TESTS_REQUIRE_ALL=1`` they fail instead.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from storage import migrate
from storage.models import Base
from storage.records import new_id
from tools.go_programs import MINIO, VERSITYGW, GoProgram, ServerUnavailableError
from tools.postgres import PostgresServer
from tools.s3_servers import MinioServer, VersityServer
from tools.server_process import Server

S = TypeVar("S", bound=Server)

_SERVER_FIXTURES = {"postgres_server", "postgres_url", "migrated_postgres_url", "minio", "versitygw"}
_GROUPS = {"servers": "servers", "browser": "browser", "interfaces": "browser"}


def everything_is_required() -> bool:
    """Whether a test that cannot run is a failure."""
    return os.environ.get("CI") == "true" or os.environ.get("SANHUI_TESTS_REQUIRE_ALL") == "1"


def cannot_run(reason: str) -> None:
    """Skip the test, or fail it where everything is required."""
    if everything_is_required():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@contextmanager
def running(server: Callable[[], S], program: GoProgram | None = None) -> Iterator[S]:
    """The server for as long as the block runs; the test is skipped or fails if it cannot be had."""
    if program is not None and not program.path.exists():
        # A build takes minutes, longer than a test may; `make test` does it before.
        cannot_run(f"{program.name} is not built yet: python -m tools.servers --prepare")
    try:
        started = server().__enter__()
    except ServerUnavailableError as error:
        cannot_run(str(error))
        raise
    try:
        yield started
    finally:
        started.__exit__(None, None, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whatever asks for a server, and say what stays together when several processes share the tests
    (pytest-xdist, ``--dist loadgroup``): each server is started once, one browser runs at a time, and a file's tests
    share its fixtures. pytest-xdist 3.8 does not see the groups with pytest 9.2, so nothing may rest on them: what must
    not come beside a browser is kept from it by :mod:`tests.support.interfaces`."""
    for item in items:
        if _SERVER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.servers)
        groups = (group for marker, group in _GROUPS.items() if item.get_closest_marker(marker))
        group = next(groups, item.nodeid.split("::")[0])
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """PostgreSQL; its databases are for other fixtures to make."""
    with running(lambda: PostgresServer(durable=False)) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """A fresh, empty database."""
    return postgres_server.create_database(f"test_{new_id()}")


@pytest.fixture(scope="session")
def _migrated_url(postgres_server: PostgresServer) -> str:
    url = postgres_server.create_database("migrated")
    migrate.upgrade(url)
    return url


@pytest.fixture
def migrated_postgres_url(_migrated_url: str) -> str:
    """A database with the schema of this version and no rows. All tests share it, one after the other: emptying it
    takes a tenth of the time that making one does."""
    tables = SQL(", ").join(Identifier(name) for name in Base.metadata.tables)
    with psycopg.connect(_migrated_url, autocommit=True) as connection:
        connection.execute("SET lock_timeout = '10s'")
        connection.execute(SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(tables))
    return _migrated_url


@pytest.fixture(scope="session")
def minio() -> Iterator[MinioServer]:
    """MinIO; tests keep apart by bucket. One that stops it uses a server of its own."""
    with running(MinioServer, MINIO) as server:
        yield server


@pytest.fixture(scope="session")
def versitygw() -> Iterator[VersityServer]:
    """VersityGW; tests keep apart by bucket. One that stops it uses a server of its own."""
    with running(VersityServer, VERSITYGW) as server:
        yield server
