"""A service with a county in it, and what an official does over the API before a test begins: branches, rooms,
cameras, plans."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.browser import require_browser, require_desk
from tests.support.service import Person, ServiceProcess, running_service, until


@dataclass
class County:
    """A running service, its first administrator, and the id of the one town below the county."""

    service: ServiceProcess
    person: Person
    town: str

    @property
    def url(self) -> str:
        """Where its pages are."""
        return self.service.url


@asynccontextmanager
async def running(folder: Path, settings: Mapping[str, str] | None = None) -> AsyncIterator[County]:
    """A county of one town, on a service of its own that is stopped at the end."""
    async with running_service(folder, settings) as service, Person(service.url) as person:
        await person.set_up(await service.setup_token())
        yield County(service, person, await add_town(person))


@asynccontextmanager
async def running_with_pages(folder: Path, settings: Mapping[str, str] | None = None) -> AsyncIterator[County]:
    """The same for tests with a browser. Where Chromium or the built pages are missing the test is skipped, or
    fails if everything is required."""
    require_browser()
    await asyncio.to_thread(require_desk)
    async with running(folder, settings) as here:
        yield here


async def add_town(person: Person) -> str:
    """A town below the county that the set-up made; its id."""
    county = (await person.call("GET", "/organizations"))["roots"][0]
    body = {"name": "清溪镇党委", "level": "town", "parent_id": county["id"]}
    return str((await person.call("POST", "/organizations", body))["id"])


async def add_room(person: Person, town: str, name: str) -> tuple[str, str]:
    """A village branch with a meeting room: ids of the branch and of the room."""
    branch = await person.call("POST", "/organizations", {"name": name, "level": "village", "parent_id": town})
    room = await person.call("POST", "/sites", {"name": "党群服务中心会议室", "organization_id": branch["id"]})
    return branch["id"], room["id"]


async def add_camera(person: Person, site: str, address: str, **more: Any) -> str:
    """A camera's id."""
    body = {"name": "会议室正面", "site_id": site, "address": address, **more}
    return str((await person.call("POST", "/cameras", body))["id"])


async def plan_meeting(person: Person, branch: str, starts_in_s: float = 2.0, **more: Any) -> str:
    """A planned members' meeting's id."""
    now = datetime.now(UTC)
    body = {
        "kind": "members-meeting",
        "organization_id": branch,
        "planned_start": (now + timedelta(seconds=starts_in_s)).isoformat(),
        "planned_end": (now + timedelta(hours=1)).isoformat(),
        **more,
    }
    return str((await person.call("POST", "/meetings", body))["id"])


async def camera_in_state(person: Person, camera: str, state: str, seconds: float = 60.0) -> Any:
    """The camera once it is in ``state``."""
    shown: Any = None

    async def check() -> Any:
        nonlocal shown
        shown = await person.call("GET", f"/cameras/{camera}")
        return shown if shown["status"]["state"] == state else None

    return await until(check, seconds, lambda: f"the camera is not {state} but {shown['status']}")


async def recorded(person: Person, meeting: str, at_least_s: float, seconds: float = 90.0) -> Any:
    """The meeting once it records and that much of it is on record."""
    shown: Any = None

    async def check() -> Any:
        nonlocal shown
        shown = await person.call("GET", f"/meetings/{meeting}")
        facts = shown["recording"]
        return shown if facts["state"] == "recording" and facts["recorded_s"] >= at_least_s else None

    return await until(check, seconds, lambda: f"not {at_least_s} s on record: {shown['state']} {shown['recording']}")


async def filed(person: Person, meeting: str, seconds: float = 60.0) -> Any:
    """The meeting once all of it is in the object store."""
    shown: Any = None

    async def check() -> Any:
        nonlocal shown
        shown = await person.call("GET", f"/meetings/{meeting}")
        return shown if shown["recording"]["state"] == "filed" else None

    return await until(check, seconds, lambda: f"not filed: {shown['state']} {shown['recording']}")
