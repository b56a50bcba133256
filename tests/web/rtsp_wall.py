"""A recorded meeting and a camera behind the RTSP server, and what a TV wall asks it for."""

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from media.clock import SystemClock
from media.rtp import parse_header
from media.stream import LiveStream, StreamId
from media.unit import StreamItem
from storage.records import Role, User
from streaming.rtsp.server import RtspServer
from tests.recorder.recordings import Archive, archive, record, stretch, with_gap
from tests.support.recorded import RecordedMeeting
from tests.support.rows import user
from tests.support.rtsp_talk import RtspTalk, rtsp_talk
from web.access.audit import Audit
from web.access.rtsp_gate import RtspGate
from web.access.rtsp_recordings import RtspRecordings
from web.access.stream_access import StreamPasswords
from web.county import County
from web.viewers import Viewers


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
    """The wall with a recording of ``items``, by default one with a gap, and a live stream beside it."""
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
    """SETUP of these tracks, interleaved."""
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
    """Sequence number and RTP time of a track in RTP-Info."""
    found = re.search(rf"track{track};seq=(\d+);rtptime=(\d+)", headers["RTP-Info"])
    assert found is not None, headers
    return int(found[1]), int(found[2])


def sequences(talk: RtspTalk) -> list[int]:
    """Numbers of a track's RTP packets."""
    headers = [parse_header(frame.payload) for frame in talk.frames if frame.channel == 0]
    return [header.sequence for header in headers if header is not None]


def utc(seconds: int) -> str:
    """As ``Range: clock=`` and ``?t=`` have it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m%dT%H%M%SZ}"
