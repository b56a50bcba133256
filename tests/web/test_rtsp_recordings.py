"""Recorded meetings over RTSP: who may see them, where they begin, how they are paced, and how other people's players
take them."""

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from media.clock import SystemClock
from media.rtcp import Goodbye, SenderReport, parse_compound
from media.rtp import parse_header
from media.stream import LiveStream, StreamId
from media.tasks import Failures
from media.unit import NS_PER_S, StreamItem
from storage.errors import DatabaseUnavailableError
from storage.records import MeetingPlace, MeetingState, Role, User
from streaming.rtsp.sdp import parse_sdp
from streaming.rtsp.server import RtspServer
from tests.recorder.recordings import Archive, archive, record, stretch, with_codec_change, with_gap
from tests.streaming.watching import until
from tests.support.encoded import ORIGIN_NS
from tests.support.recorded import RecordedMeeting
from tests.support.rows import user
from tests.support.rtsp_talk import RtspTalk, rtsp_talk
from web.access.audit import Audit
from web.access.gate import meeting_inside
from web.access.rtsp_gate import RtspGate
from web.access.rtsp_recordings import RtspRecordings
from web.access.stream_access import StreamPasswords
from web.county import County
from web.viewers import Viewers

PLAYER = Path(__file__).parents[1] / "support" / "gst_player.py"


@dataclass
class Wall:
    """A recorded meeting behind the RTSP server, and people."""

    made: RecordedMeeting
    server: RtspServer
    county: County
    passwords: StreamPasswords
    people: dict[str, User]
    home: Archive
    viewers: Viewers

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.server.port}/meeting/{self.made.meeting.id}"

    def password(self, name: str = "wang") -> str:
        return self.passwords.of(self.people[name]).reveal()

    def with_log_in(self, name: str = "wang", query: str = "") -> str:
        return self.url.replace("rtsp://", f"rtsp://{name}:{self.password(name)}@") + query

    @contextlib.asynccontextmanager
    async def talk(self, name: str = "wang", query: str = "") -> AsyncIterator[RtspTalk]:
        async with rtsp_talk(self.url + query, name, self.password(name)) as talk:
            yield talk


@contextlib.asynccontextmanager
async def wall(folder: Path, items: list[StreamItem] | None = None) -> AsyncIterator[Wall]:
    clock = SystemClock()
    async with archive(folder) as home:
        made = await record(home.database, home.store, home.county, [items or with_gap()])
        people = {
            "wang": user("wang"),
            "other": user("other"),
            "west": user("west", organization_id=home.county.towns[1].id),
            "auditor": user("auditor", role=Role.AUDITOR, scopes=("live:watch",)),
        }
        async with home.database.transaction() as repos:
            for person in people.values():
                await repos.users.add(person)
        county = County(home.database)
        await county.refresh()
        passwords = StreamPasswords(b"0" * 32)
        audit = Audit(clock)
        recordings = RtspRecordings(county, home.database, home.playback(), audit, clock, home.executor)
        viewers = Viewers(clock)
        gate = RtspGate(county, passwords, audit, home.database, clock, recordings, viewers)
        camera = home.county.cameras[0].id
        stream = LiveStream(StreamId(camera), clock)
        for unit in stretch(100.0, 4.0):
            stream.publish(unit)
        live = {f"/live/{camera}": stream}.get
        async with RtspServer("127.0.0.1", 0, live, gate, clock, recordings=recordings) as server:
            county.on_change.append(lambda _: server.check_access())
            yield Wall(made, server, county, passwords, people, home, viewers)


async def set_up(talk: RtspTalk, *tracks: int) -> None:
    base = talk.url.partition("?")[0]
    for number, track in enumerate(tracks):
        transport = f"RTP/AVP/TCP;unicast;interleaved={2 * number}-{2 * number + 1}"
        assert (await talk.ask("SETUP", f"{base}/track{track}", Transport=transport)).status == 200


async def play(talk: RtspTalk, span: str | None = None) -> dict[str, str]:
    """PLAY; the headers of its answer."""
    url = talk.url.partition("?")[0] + "/"
    answer = await (talk.ask("PLAY", url, Range=span) if span else talk.ask("PLAY", url))
    assert answer.status == 200, answer
    return {name: value for name, value in answer.headers}


def info_of(headers: dict[str, str], track: int) -> tuple[int, int]:
    found = re.search(rf"track{track};seq=(\d+);rtptime=(\d+)", headers["RTP-Info"])
    assert found is not None, headers
    return int(found[1]), int(found[2])


async def test_a_recording_is_described_with_its_length_and_sought_by_keyframe(tmp_path: Path) -> None:
    async with wall(tmp_path) as here, here.talk() as talk:
        described = await talk.ask("DESCRIBE")
        assert re.search(rb"a=range:npt=0-(20\.0|19\.9)", described.body), described.body
        media = parse_sdp(described.body, described.headers.get("Content-Base") or "").media
        assert [item.description.encoding for item in media if item.description] == ["H264", "PCMA"]
        await set_up(talk, 1, 2)
        headers = await play(talk, "npt=7.3-")
        assert headers["Range"].startswith("npt=6.0"), headers
        sequence, rtp_time = info_of(headers, 1)
        while talk.marked < 3:
            await talk.read_more()
        first = parse_header(next(frame.payload for frame in talk.frames if frame.channel == 0))
        assert first is not None
        assert (first.sequence, first.timestamp) == (sequence, rtp_time)
        # The next place: RTP goes on, and RTP-Info says what its time means.
        assert (await talk.ask("PAUSE")).status == 200
        seen = len(talk.frames)
        headers = await play(talk, "npt=0:00:02-0:00:19.5")
        assert headers["Range"] == "npt=2.000-19.500"
        later, later_time = info_of(headers, 1)
        assert 0 < (later - sequence) & 0xFFFF < 1000
        assert 0 < (later_time - rtp_time) & 0xFFFFFFFF < 90_000 * 60
        while not any(frame.channel == 0 for frame in talk.frames[seen:]):
            await talk.read_more()
        again = parse_header(next(frame.payload for frame in talk.frames[seen:] if frame.channel == 0))
        assert again is not None
        assert (again.sequence, again.timestamp) == (later, later_time)


async def test_pace_ranges_and_goodbye(tmp_path: Path) -> None:
    async with wall(tmp_path) as here, here.talk() as talk:
        await talk.ask("DESCRIBE")
        await set_up(talk, 1, 2)
        for wrong in ("npt=20.5-", "smpte=0:00-", "npt=9-3", "npt=x-", "clock=20991121T080000Z-"):
            assert (await talk.ask("PLAY", here.url, Range=wrong)).status == 457, wrong
        loop = asyncio.get_running_loop()
        answer = await talk.ask("PLAY", here.url, Range="npt=18-", Scale="2.0", Speed="4")
        assert (answer.headers.get("Scale"), answer.headers.get("Speed")) == ("1.0", "1.0")
        began = loop.time()
        byes: set[int] = set()
        while len(byes) < 2:
            await talk.read_more()
            reports = [item for frame in talk.frames if frame.channel % 2 for item in parse_compound(frame.payload)]
            byes = {source for item in reports if isinstance(item, Goodbye) for source in item.ssrcs}
        # Two seconds take two seconds.
        assert 1.7 < loop.time() - began
        assert talk.marked == 50
        now_ns = SystemClock().utc_ns()
        assert any(isinstance(item, SenderReport) and abs(item.utc_ns - now_ns) < 60 * NS_PER_S for item in reports)
        # It can be played again after its end, under another name, and by the clock on the wall.
        seen = len(talk.frames)
        start = (ORIGIN_NS + 118 * NS_PER_S) // NS_PER_S
        headers = await play(talk, f"clock={utc(start)}-{utc(start + 1)}")
        assert headers["Range"].startswith(f"clock={utc(start - 1)[:-1]}"), headers
        while not any(frame.channel == 0 for frame in talk.frames[seen:]):
            await talk.read_more()
        header = parse_header(next(frame.payload for frame in talk.frames[seen:] if frame.channel == 0))
        assert header is not None
        assert header.ssrc not in byes


def utc(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m%dT%H%M%SZ}"


async def test_a_paused_recording_goes_on_where_it_was(tmp_path: Path) -> None:
    async with wall(tmp_path) as here, here.talk() as talk:
        await talk.ask("DESCRIBE")
        await set_up(talk, 1)
        await play(talk, "npt=4-")
        while talk.marked < 5:
            await talk.read_more()
        assert (await talk.ask("PAUSE")).status == 200
        marked = talk.marked
        assert (await talk.ask("GET_PARAMETER")).status == 200
        assert talk.marked == marked
        packets = sequences(talk)
        headers = await play(talk)
        assert re.match(r"npt=4\.[1-9]", headers["Range"])
        assert info_of(headers, 1)[0] == (packets[-1] + 1) & 0xFFFF
        while talk.marked < marked + 5:
            await talk.read_more()
        assert all((b - a) & 0xFFFF == 1 for a, b in pairwise(sequences(talk)))


def sequences(talk: RtspTalk) -> list[int]:
    """Numbers of a track's RTP packets."""
    headers = [parse_header(frame.payload) for frame in talk.frames if frame.channel == 0]
    return [header.sequence for header in headers if header is not None]


async def test_t_says_where_a_recording_begins(tmp_path: Path) -> None:
    async with wall(tmp_path) as here:
        cases = {
            "?t=7.3": 14.0,
            f"?t={utc(ORIGIN_NS // NS_PER_S + 119)}": 6.0,
            f"?clock={utc(ORIGIN_NS // NS_PER_S + 114)}": 8.0,
            "?t=0": 20.0,
            "": 20.0,
        }
        for query, left in cases.items():
            async with here.talk(query=query) as talk:
                found = re.search(rb"a=range:npt=0-([\d.]+)", (await talk.ask("DESCRIBE")).body)
                assert found is not None
                assert abs(float(found[1]) - left) < 0.1, query
        async with here.talk(query="?t=x") as talk:
            assert (await talk.ask("DESCRIBE")).status == 404


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


@pytest.mark.parametrize("path", ["/meeting/\udcff", "/meeting/a%00b", "/meeting/a%ED%A0%80"])
async def test_a_meeting_that_can_have_no_such_name_is_not_found(tmp_path: Path, path: str) -> None:
    async with wall(tmp_path) as here:
        url = here.url.partition("/meeting/")[0] + path
        async with rtsp_talk(url, "wang", here.password()) as talk, asyncio.timeout(20):
            assert (await talk.ask("DESCRIBE")).status == 404


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


async def test_a_query_of_many_fields_gets_an_answer(tmp_path: Path) -> None:
    async with wall(tmp_path) as here, here.talk(query="?" + "&".join("t=1" for _ in range(40))) as talk:
        async with asyncio.timeout(20):
            assert (await talk.ask("DESCRIBE")).status == 404
            assert (await talk.ask("OPTIONS")).status == 200


async def test_a_fault_of_ours_gets_an_answer_and_the_connection_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise LookupError("broken")

    async with wall(tmp_path) as here, here.talk() as talk, asyncio.timeout(20):
        with monkeypatch.context() as patch:
            patch.setattr(RtspRecordings, "open", broken)
            assert (await talk.ask("DESCRIBE")).status == 500
        assert (await talk.ask("DESCRIBE")).status == 200


async def test_a_change_of_codec_ends_the_session_where_decoders_could_not_go_on(tmp_path: Path) -> None:
    async with wall(tmp_path, with_codec_change()) as here, here.talk() as talk:
        await talk.ask("DESCRIBE")
        await set_up(talk, 1, 2)
        await play(talk, "npt=7-")
        with contextlib.suppress(EOFError):
            while True:
                await talk.read_more()
        assert talk.marked == 50
        async with here.talk(query="?t=8.5") as after:
            media = parse_sdp((await after.ask("DESCRIBE")).body, "rtsp://x/").media
            assert [item.description.encoding for item in media if item.description] == ["H265", "MPEG4-GENERIC"]


async def test_sound_alone_plays_too(tmp_path: Path) -> None:
    async with wall(tmp_path, list(stretch(100.0, 6.0, video=None))) as here, here.talk() as talk:
        await talk.ask("DESCRIBE")
        await set_up(talk, 2)
        headers = await play(talk, "npt=2.02-")
        assert headers["Range"].startswith("npt=2.0")
        while len(talk.frames) < 10:
            await talk.read_more()


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
