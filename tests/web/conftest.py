"""A whole service on real SQLite and a directory store, with people of every role, behind aiohttp's test client."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher

from media.clock import SystemClock
from storage import migrate
from storage.database import Database
from storage.records import Organization, OrganizationLevel, Role, Site, User
from web.app import build_app
from web.config import Settings
from web.lifetime import Seams
from web.services import SERVICES, Services

PASSWORD = "Correct-Horse-9"
FAST = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


@dataclass
class ShiftedClock:
    """The machine's clocks, moved by hand."""

    shift_s: float = 0.0
    _clock: SystemClock = field(default_factory=SystemClock)

    def utc_ns(self) -> int:
        return self._clock.utc_ns() + int(self.shift_s * 1e9)

    def monotonic_ns(self) -> int:
        return self._clock.monotonic_ns() + int(self.shift_s * 1e9)


@dataclass
class Api:
    """A browser: a client that keeps its cookie and sends the CSRF token."""

    client: TestClient[Any, Any]
    csrf: str = ""

    async def call(self, method: str, path: str, **options: Any) -> ClientResponse:
        headers = {"X-CSRF-Token": self.csrf, **options.pop("headers", {})}
        return await self.client.request(method, f"/api/v1{path}", headers=headers, **options)

    async def json(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        response = await self.call(method, path, **options)
        body = await response.json() if response.content_length else None
        assert response.status == status, body
        return body

    async def log_in(self, username: str, password: str = PASSWORD) -> Any:
        body = await self.json("POST", "/session", json={"username": username, "password": password})
        self.csrf = body["csrf_token"]
        return body


@dataclass
class Service:
    """The running service under test."""

    server: TestServer
    clock: ShiftedClock
    clients: list[TestClient[Any, Any]] = field(default_factory=list)

    @property
    def services(self) -> Services:
        return self.server.app[SERVICES]

    def browser(self) -> Api:
        client = TestClient(self.server)
        self.clients.append(client)
        return Api(client)

    async def logged_in(self, username: str) -> Api:
        api = self.browser()
        await api.log_in(username)
        return api


def settings(folder: Path, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "data_dir": folder / "data",
        "http_port": 0,
        "rtsp_port": 0,
        "webrtc_port": 0,
        "camera_allow_loopback": True,
        "log_format": "console",
    }
    return Settings.model_validate({**values, **changes})


def user(username: str, role: Role, password_hash: str, area: str | None = None, **more: Any) -> User:
    now = datetime.now(UTC)
    return User(
        id=f"u-{username}",
        username=username,
        display_name=username.title(),
        password_hash=password_hash,
        role=role,
        organization_id=area,
        password_changed_at=now,
        created_at=now,
        **more,
    )


PEOPLE = {
    "system": (Role.SYSTEM_ADMINISTRATOR, None),
    "security": (Role.SECURITY_ADMINISTRATOR, None),
    "auditor": (Role.AUDITOR, None),
    "official": (Role.OFFICIAL, None),
    "east": (Role.OFFICIAL, "town-east"),
    "archivist": (Role.ARCHIVIST, None),
    "viewer": (Role.VIEWER, None),
}


async def fill(services: Services) -> None:
    """:func:`fill_database` behind a service that runs."""
    await fill_database(services.database)
    await services.county.refresh()


async def fill_database(database: Database) -> None:
    """A county with two towns, a village and a hall in each, and one person of each role."""
    tree = [
        Organization(id="county", parent_id=None, level=OrganizationLevel.COUNTY, name="清河县委组织部"),
        Organization(id="town-east", parent_id="county", level=OrganizationLevel.TOWN, name="东镇党委"),
        Organization(id="town-west", parent_id="county", level=OrganizationLevel.TOWN, name="西镇党委"),
        Organization(id="village-east", parent_id="town-east", level=OrganizationLevel.VILLAGE, name="东村党支部"),
        Organization(id="village-west", parent_id="town-west", level=OrganizationLevel.VILLAGE, name="西村党支部"),
    ]
    password_hash = FAST.hash(PASSWORD)
    async with database.transaction() as repos:
        for organization in tree:
            await repos.organizations.add(organization)
        for side in ("east", "west"):
            await repos.sites.add(Site(id=f"hall-{side}", organization_id=f"village-{side}", name="党群服务中心"))
        for name, (role, area) in PEOPLE.items():
            await repos.users.add(user(name, role, password_hash, area))


@pytest.fixture(scope="session")
def county_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with this version's tables and :func:`fill_database`'s county, made once: tables take as long to make
    as most tests do."""
    path = tmp_path_factory.mktemp("county") / "sanhui.db"
    migrate.upgrade(f"sqlite:///{path}")

    async def make() -> None:
        async with Database(f"sqlite:///{path}") as database:
            await fill_database(database)

    asyncio.run(make())
    return path


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[Service]:
    async with run(settings(tmp_path)) as service:
        yield service


@pytest.fixture
async def service(tmp_path: Path, county_file: Path) -> AsyncIterator[Service]:
    chosen = settings(tmp_path)
    chosen.data_dir.mkdir()
    shutil.copy(county_file, chosen.data_dir / "sanhui.db")
    async with run(chosen) as service:
        yield service


@contextlib.asynccontextmanager
async def run(chosen: Settings) -> AsyncIterator[Service]:
    clock = ShiftedClock()
    server = TestServer(build_app(chosen, Seams(clock=clock, hasher=FAST, county_refresh_s=60)))
    await server.start_server()
    service = Service(server, clock)
    try:
        yield service
    finally:
        for client in service.clients:
            await client.close()
        await server.close()
