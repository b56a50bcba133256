"""Who may look over RTSP, at recordings and live: rights as they are and as they change, and every look on record."""

import asyncio
import base64
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from media.clock import SystemClock
from media.tasks import Failures
from storage.errors import DatabaseUnavailableError
from storage.records import MeetingPlace, MeetingState
from tests.streaming.watching import until
from tests.support.rtsp_talk import rtsp_talk
from tests.web.rtsp_wall import Wall, play, set_up, wall
from web.access.audit import Audit
from web.access.gate import meeting_inside
from web.access.rtsp_gate import RtspGate


async def test_rights_are_those_of_playback_and_each_look_is_on_record(tmp_path: Path) -> None:
    async with wall(tmp_path) as here:
        for name, status in (("west", 403), ("auditor", 403)):
            async with here.talk(name) as talk:
                assert (await talk.ask("DESCRIBE")).status == status
                answer = await talk.ask("SETUP", f"{here.url}/track1", Transport="RTP/AVP/TCP;unicast;interleaved=0-1")
                assert answer.status == status
        async with rtsp_talk(here.url, "wang", "wrong") as talk:
            assert (await talk.ask("DESCRIBE")).status == 401
        async with here.talk() as talk:
            assert (await talk.ask("DESCRIBE", here.url + "0")).status == 404
            await talk.ask("DESCRIBE")
            assert await looks(here) == []
            await set_up(talk, 1)
            await play(talk)
            await play(talk, "npt=8-")
        assert await looks(here) == [("wang", f"meeting/{here.made.meeting.id}", "127.0.0.1")]


async def looks(here: Wall) -> list[tuple[str, str, str]]:
    async with here.home.database.read() as repos:
        story = await repos.story.of_meeting(here.made.meeting.id)
        found = await repos.audit.page(action="meeting.play")
    assert len(story) == len(found)
    return [(entry.username, entry.subject, entry.address) for entry in found]


@pytest.mark.parametrize("change", ["disabled", "moved", "password"])
async def test_who_loses_the_right_loses_the_picture(tmp_path: Path, change: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        here = await stack.enter_async_context(wall(tmp_path))
        live = here.url.replace(f"meeting/{here.made.meeting.id}", f"live/{here.made.meeting.camera_id}")
        talks = [
            await stack.enter_async_context(rtsp_talk(url, name, here.password(name)))
            for url, name in ((here.url, "wang"), (live, "wang"), (live, "other"))
        ]
        for talk in talks:
            await talk.ask("DESCRIBE")
            await set_up(talk, 1)
            await play(talk)
        await until(lambda: here.server.viewers == 3)
        person = {
            "disabled": replace(here.people["wang"], active=False),
            "moved": replace(here.people["wang"], organization_id=here.people["west"].organization_id),
            "password": replace(here.people["wang"], password_hash="another"),
        }[change]
        async with here.home.database.transaction() as repos:
            await repos.users.update(person)
        await here.county.refresh()
        for talk in talks[:2]:
            with contextlib.suppress(EOFError, ConnectionError):
                while True:
                    await talk.read_more()
        assert here.server.viewers == 1
        assert (await talks[2].ask("GET_PARAMETER")).status == 200


async def test_who_asks_for_another_camera_beside_loses_the_first_with_the_right_to_it(tmp_path: Path) -> None:
    async with wall(tmp_path) as here:
        live = here.url.replace(f"meeting/{here.made.meeting.id}", f"live/{here.made.meeting.camera_id}")
        async with rtsp_talk(live, "wang", here.password()) as talk:
            await talk.ask("DESCRIBE")
            await set_up(talk, 1)
            await play(talk)
            # Refused, since this session plays already; but the person may have it.
            other = here.home.county.cameras[1].id
            refused = await talk.ask("SETUP", live.rpartition("/")[0] + f"/{other}/track1", Transport="RTP/AVP/TCP")
            assert refused.status == 455
            async with here.home.database.transaction() as repos:
                camera = await repos.cameras.get(here.made.meeting.camera_id)
                await repos.cameras.update(replace(camera, supervision_allowed=False))
            await here.county.refresh()
            async with asyncio.timeout(20):
                with contextlib.suppress(EOFError, ConnectionError):
                    while True:
                        await talk.read_more()
            assert here.server.viewers == 0


async def test_a_look_goes_on_record_when_the_database_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.access.rtsp_gate._AGAIN_S", 0.01, raising=False)
    refused = 0

    def away() -> None:
        nonlocal refused
        refused += 1
        raise DatabaseUnavailableError("away", database="x")

    async with wall(tmp_path) as here:
        clock, database = SystemClock(), here.home.database
        gate = RtspGate(here.county, here.passwords, Audit(clock), database, clock)
        pair = base64.b64encode(f"wang:{here.password()}".encode()).decode()
        async with gate.recording_looks(Failures(clock)), asyncio.timeout(20):
            with monkeypatch.context() as patch:
                patch.setattr(database, "transaction", away)
                url = f"rtsp://127.0.0.1/live/{here.made.meeting.camera_id}"
                assert gate.check("PLAY", url, f"Basic {pair}").user == "wang"
                await until(lambda: refused > 0)
            while True:
                async with database.read() as repos:
                    if await repos.audit.page(action="stream.rtsp"):
                        break
                await asyncio.sleep(0.01)


async def test_a_meeting_that_runs_is_no_recording_where_looking_in_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def running(*given: Any) -> MeetingPlace:
        place = await meeting_inside(*given)
        meeting = replace(place.meeting, state=MeetingState.RUNNING)
        return replace(place, meeting=meeting, camera=replace(place.camera, supervision_allowed=False))

    async with wall(tmp_path) as here, here.talk() as talk:
        with monkeypatch.context() as patch:
            patch.setattr("web.access.rtsp_recordings.meeting_inside", running)
            assert (await talk.ask("DESCRIBE")).status == 403
        assert (await talk.ask("DESCRIBE")).status == 200


async def test_who_looks_at_a_camera_over_rtsp_counts_as_a_viewer_until_they_stop(tmp_path: Path) -> None:
    async with wall(tmp_path) as here:
        camera, wang = here.home.county.cameras[0].id, here.people["wang"].id
        url = f"rtsp://127.0.0.1:{here.server.port}/live/{camera}"
        async with rtsp_talk(url, "wang", here.password()) as talk:
            assert (await talk.ask("DESCRIBE")).status == 200
            await set_up(talk, 1)
            # Asking is not looking yet.
            assert here.viewers.of_camera(camera) == ()
            await play(talk)
            assert here.viewers.of_camera(camera) == (wang,)
            async with rtsp_talk(url, "wang", here.password()) as second:
                await set_up(second, 1)
                await play(second)
                # Two screens of one person.
                assert here.viewers.counts() == {camera: 1}
            assert (await talk.ask("PAUSE")).status == 200
            await until(lambda: here.viewers.of_camera(camera) == ())
            await play(talk)
            assert here.viewers.of_camera(camera) == (wang,)
        # The connection is gone without a TEARDOWN.
        await until(lambda: here.viewers.of_camera(camera) == ())
        # A recording is no look at the room as it is.
        async with here.talk() as recorded:
            assert (await recorded.ask("DESCRIBE")).status == 200
            await set_up(recorded, 1)
            await play(recorded)
            assert here.viewers.counts() == {}
