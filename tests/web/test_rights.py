"""Rights behind live media while the database is away, or refuses."""

import asyncio
from pathlib import Path

import pytest

from media.stream import StreamId
from storage.errors import DatabaseUnavailableError
from storage.repositories.people import AuditRepository
from tests.support.webrtc_client import H264_BASELINE, WebRtcClient
from tests.web.conftest import fill, run, settings
from tests.web.test_flow import add_camera
from tests.web.test_whep import House, camera, house
from web.live import rights

__all__ = ["camera", "house"]

LIMIT_S = 60
SDP = {"Content-Type": "application/sdp"}


async def test_a_database_that_is_away_cuts_off_nobody(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "CHECK_S", 0.05)
    official, security = await house.service.logged_in("east"), await house.service.logged_in("security")
    services = house.service.services
    asked = 0

    def away() -> None:
        nonlocal asked
        asked += 1
        raise DatabaseUnavailableError("away", database="x")

    async with WebRtcClient() as client, asyncio.timeout(LIMIT_S):
        answer = await house.post(official, client.offer())
        await client.connect(await answer.text())
        with monkeypatch.context() as patch:
            patch.setattr(services.database, "read", away)
            patch.setattr(services.database, "transaction", away)
            # What was allowed lately is not asked about again at once.
            house.service.clock.shift_s += 40
            await client.until(lambda: asked > 3 or client.said_goodbye.is_set())
            assert not client.said_goodbye.is_set()
            seen = len(client.packets)
            await client.until(lambda: len(client.packets) > seen + 3)
        # Once it answers, its answer counts.
        person = {"display_name": "East", "role": "archivist", "organization_id": "town-east"}
        await security.json("PUT", "/users/u-east", json=person)
        await client.said_goodbye.wait()


async def test_a_sender_who_cannot_be_put_on_record_does_not_count_as_sending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(*_: object) -> None:
        raise DatabaseUnavailableError("away", database="x")

    async with run(settings(tmp_path, webrtc_host="127.0.0.1")) as service, asyncio.timeout(LIMIT_S):
        await fill(service.services)
        system, official = await service.logged_in("system"), await service.logged_in("east")
        hall = await add_camera(system, "whip:")
        offer = WebRtcClient().offer(direction="sendonly", video=(H264_BASELINE,), audio=())

        async def send() -> int:
            headers = {"X-CSRF-Token": official.csrf, **SDP}
            return (await official.client.post(f"/live/{hall['id']}/whip", data=offer, headers=headers)).status

        with monkeypatch.context() as patch:
            patch.setattr(AuditRepository, "add", refuses)
            assert await send() == 503
        pushed = service.services.supervisor.pushed(StreamId(hall["id"]))
        assert pushed is not None
        assert not pushed.publishing
        assert await send() == 201
        assert pushed.publishing
