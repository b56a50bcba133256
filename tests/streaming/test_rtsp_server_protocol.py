"""Our RTSP server request by request: what it refuses, what it survives, and how it treats slow clients."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from media.rtcp import SenderReport, parse_compound
from media.rtp import parse_header
from media.stream import LiveStream, StreamId
from media.testsource import TestSourceSettings
from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec
from streaming.door import DoorLimits
from streaming.rtsp.auth import ServerAuthenticator
from streaming.rtsp.sdp import parse_sdp
from streaming.rtsp.server import RtspServer
from streaming.rtsp.server_login import MAX_LOGIN_FAILURES
from streaming.rtsp.server_session import ConnectionSettings
from streaming.secret import Secret
from tests.streaming.watching import until
from tests.support.clocks import FakeClock
from tests.support.rtp_feed import START_NS, make_units, of_track
from tests.support.rtsp_talk import RtspTalk, rtsp_talk

UNITS = make_units(TestSourceSettings(Codec.H264, Codec.PCMA, 320, 180, 25, 300_000, gop_s=1.0), 3.0)
TCP = "RTP/AVP/TCP;unicast;interleaved=0-1"


class Site:
    """A server with one stream, fed by hand."""

    def __init__(self, clock: FakeClock, stream: LiveStream, server: RtspServer) -> None:
        self.clock = clock
        self.stream = stream
        self.server = server

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.server.port}/live/hall"

    def publish(self, units: Iterable[AccessUnit]) -> None:
        for unit in units:
            self.stream.publish(unit)


@contextlib.asynccontextmanager
async def site(
    authenticator: ServerAuthenticator | None = None,
    settings: ConnectionSettings | None = None,
    limits: DoorLimits | None = None,
) -> AsyncIterator[Site]:
    clock = FakeClock(START_NS + 3 * NS_PER_S)
    stream = LiveStream(StreamId("hall"), clock)
    async with RtspServer(
        "127.0.0.1",
        0,
        {"/live/hall": stream}.get,
        authenticator,
        clock,
        settings=settings,
        limits=limits,
    ) as server:
        yield Site(clock, stream, server)


async def closed(talk: RtspTalk) -> None:
    """Wait until the server closes the connection."""
    with contextlib.suppress(ConnectionError, EOFError):
        while True:
            await talk.read_more()


async def test_describe_tells_the_tracks() -> None:
    async with site() as here, rtsp_talk(here.url) as talk:
        assert (await talk.ask("DESCRIBE")).status == 503
        here.publish(UNITS)
        response = await talk.ask("DESCRIBE")
        assert response.headers.get("Content-Type") == "application/sdp"
        description = parse_sdp(response.body, response.headers.get("Content-Base") or "")
        video, audio = description.media
        assert video.control == f"{here.url}/track1"
        assert video.description is not None
        assert audio.description is not None
        assert (video.description.encoding, audio.description.encoding) == ("H264", "PCMA")
        assert "sprop-parameter-sets" in video.description.fmtp
        assert (await talk.ask("DESCRIBE", here.url + "/other")).status == 404


async def test_a_session_from_options_to_teardown() -> None:
    async with site() as here, rtsp_talk(here.url) as talk:
        here.publish(UNITS)
        assert "PLAY" in ((await talk.ask("OPTIONS")).headers.get("Public") or "")
        await talk.play_interleaved(1, 2)
        await until(lambda: here.server.viewers == 1)
        while sum(frame.channel == 0 for frame in talk.frames) < 25:
            await talk.read_more()
        assert (await talk.ask("GET_PARAMETER")).status == 200
        assert (await talk.ask("SET_PARAMETER")).status == 200
        assert (await talk.ask("GET_PARAMETER", body=b"packets_received\r\n")).status == 451
        assert (await talk.ask("SETUP", here.url + "/track1", Transport=TCP)).status == 455
        assert (await talk.ask("TEARDOWN")).status == 200
        await closed(talk)
        await until(lambda: here.server.viewers == 0)
        await until(lambda: here.server.feed(here.stream) is None)


async def test_media_begins_with_reports_and_the_newest_keyframe() -> None:
    async with site() as here, rtsp_talk(here.url) as first, rtsp_talk(here.url) as second:
        here.publish(UNITS)
        await first.play_interleaved(1, 2)
        while len(first.frames) < 30:
            await first.read_more()
        for number, track in enumerate((2, 1)):
            transport = f"RTP/AVP/TCP;unicast;interleaved={10 + 2 * number}-{11 + 2 * number}"
            assert (await second.ask("SETUP", f"{here.url}/track{track}", Transport=transport)).status == 200
        played = await second.ask("PLAY")
        info = dict(part.split(";", 1)[0::1] for part in (played.headers.get("RTP-Info") or "").split(",") if part)
        assert set(info) == {f"url={here.url}/track1", f"url={here.url}/track2"}
        while len(second.frames) < 30:
            await second.read_more()
        reports = [frame for frame in second.frames if frame.channel in (11, 13)]
        assert [frame.channel for frame in second.frames[:2]] == [frame.channel for frame in reports[:2]]
        packets = {channel: [f for f in second.frames if f.channel == channel] for channel in (10, 12)}
        for channel, track in ((12, 1), (10, 2)):
            header = parse_header(packets[channel][0].payload)
            assert header is not None
            expected = dict(item.split("=") for item in info[f"url={here.url}/track{track}"].split(";"))
            assert expected == {"seq": str(header.sequence), "rtptime": str(header.timestamp)}
            report = next(
                item
                for frame in reports
                if frame.channel == channel + 1
                for item in parse_compound(frame.payload)
                if isinstance(item, SenderReport)
            )
            rate = 90_000 if track == 1 else 8000
            newest = [unit for unit in of_track(UNITS, track) if unit.keyframe or track == 2]
            start = newest[-1] if track == 1 else next(u for u in newest if u.utc_ns >= START_NS + 2 * NS_PER_S)
            ticks = (report.rtp_timestamp - header.timestamp) & 0xFFFFFFFF
            assert abs(report.utc_ns - start.utc_ns - ticks * NS_PER_S // rate) < 1_000_000
        assert packets[12][0].payload[12] & 0x1F == 7


async def test_requests_out_of_place_are_refused() -> None:
    async with site() as here, rtsp_talk(here.url) as talk:
        here.publish(UNITS)
        assert (await talk.ask("PLAY")).status == 454
        assert (await talk.ask("TEARDOWN", Session="made-up")).status == 454
        assert (await talk.ask("PAUSE")).status == 454
        assert (await talk.ask("RECORD")).status == 501
        assert (await talk.ask("SETUP", here.url + "/track9", Transport=TCP)).status == 404
        assert (await talk.ask("SETUP", here.url, Transport=TCP)).status == 404
        unsupported = await talk.ask("DESCRIBE", Require="www.onvif.org/ver20/backchannel")
        assert (unsupported.status, unsupported.headers.get("Unsupported")) == (551, "www.onvif.org/ver20/backchannel")
        assert (await talk.ask("SETUP", here.url + "/track1", Transport=TCP)).status == 200
        assert (await talk.ask("SETUP", here.url + "/track2", Transport=TCP)).status == 461
        assert (await talk.ask("PLAY", Session="made-up")).status == 454


async def test_play_names_the_stream_that_was_set_up() -> None:
    # The log-in and the register of looks see the URL of the PLAY, so no other may start the stream.
    async with site() as here, rtsp_talk(here.url) as talk:
        here.publish(UNITS)
        assert (await talk.ask("SETUP", f"{here.url}/track1", Transport=TCP)).status == 200
        for other in ("/", "/live/other", "/live/hall2/"):
            assert (await talk.ask("PLAY", f"rtsp://127.0.0.1:{here.server.port}{other}")).status == 404
        assert (await talk.ask("PLAY", f"{here.url}/")).status == 200


@pytest.mark.parametrize(
    "transport",
    [
        "",
        "RTP/AVP;multicast",
        "RTP/SAVP;unicast;client_port=5000-5001",
        "RTP/AVP;unicast",
        "RTP/AVP;unicast;client_port=0-1",
        "RTP/AVP;unicast;client_port=99999-100000",
        "RTP/AVP/TCP;unicast;interleaved=7-7",
        'RTP/AVP/TCP;unicast;mode="RECORD"',
        ";;;===,,,",
    ],
)
async def test_transports_that_cannot_be(transport: str) -> None:
    async with site() as here, rtsp_talk(here.url) as talk:
        here.publish(UNITS)
        assert (await talk.ask("SETUP", here.url + "/track1", Transport=transport)).status == 461


async def test_the_first_possible_transport_is_taken_and_udp_can_be_forbidden() -> None:
    offers = f"RTP/AVP;multicast,RTP/AVP;unicast;client_port=5000-5001,{TCP}"
    for allow_udp, expected in ((True, "client_port=5000-5001"), (False, "interleaved=0-1")):
        async with site(settings=ConnectionSettings(allow_udp=allow_udp)) as here, rtsp_talk(here.url) as talk:
            here.publish(UNITS)
            response = await talk.ask("SETUP", here.url + "/track1", Transport=offers)
            assert expected in (response.headers.get("Transport") or "")


async def test_a_guesser_is_sent_away() -> None:
    def password_of(user: str) -> Secret | None:
        return Secret("right") if user == "viewer" else None

    async with site(ServerAuthenticator("r", password_of, FakeClock())) as here:
        here.publish(UNITS)
        async with rtsp_talk(here.url, "viewer", "wrong") as talk:
            assert (await talk.ask("OPTIONS")).status == 200
            refused = 0
            with contextlib.suppress(EOFError, ConnectionError):
                while refused <= MAX_LOGIN_FAILURES:
                    assert (await talk.ask("DESCRIBE")).status == 401
                    refused += 1
            assert refused <= MAX_LOGIN_FAILURES
        async with rtsp_talk(here.url, "viewer", "right") as talk:
            assert (await talk.ask("DESCRIBE")).status == 200


@pytest.mark.parametrize(
    ("junk", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b" 400 "),
        (b"\x16\x03\x01\x02\x00\x01", b" 400 "),
        (b"DESCRIBE rtsp://x/ RTSP/1.0\r\nX: " + b"a" * 10_000_000, b" 413 "),
        (b"DESCRIBE rtsp://x/ RTSP/1.0\r\nContent-Length: 99999999\r\n\r\n", b" 413 "),
        (b"DESCRIBE rtsp://[::1 RTSP/1.0\r\nCSeq: 1\r\n\r\n", b" 400 "),
        (b"DESCRIBE / RTSP/1.0\r\nContent-Length: x\r\n\r\n", b" 400 "),
    ],
    ids=["http", "tls", "10-mb-header", "huge-body", "url", "length"],
)
async def test_bad_input_gets_an_answer_and_harms_nobody(junk: bytes, answer: bytes) -> None:
    async with site() as here, rtsp_talk(here.url) as good, rtsp_talk(here.url) as bad:
        here.publish(UNITS)
        await good.play_interleaved(1)
        with contextlib.suppress(ConnectionError):
            bad.writer.write(junk)
            await bad.writer.drain()
        with contextlib.suppress(ConnectionError):
            assert answer in await asyncio.wait_for(bad.reader.read(400), 10)
        count = len(good.frames)
        here.publish(of_track(UNITS, 1))
        while len(good.frames) < count + 10:
            await good.read_more()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.builds(
                lambda method, path, name, value: (
                    f"{method} {path} RTSP/1.0\r\nCSeq: 1\r\n{name}: {value}\r\n\r\n".encode()
                ),
                st.sampled_from(["OPTIONS", "DESCRIBE", "SETUP", "PLAY", "TEARDOWN", "GET_PARAMETER", "FOO"]),
                st.sampled_from(
                    ["*", "/live/hall", "rtsp://h/live/hall/track1", "rtsp://h/%ff%00", "::", "rtsp://[/x"]
                ),
                st.sampled_from(["Transport", "Session", "Require", "Authorization", "Content-Length"]),
                st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
            ),
        ),
        max_size=6,
    )
)
async def test_any_bytes_leave_the_server_standing(pieces: list[bytes]) -> None:
    async with site() as here:
        here.publish(UNITS)
        async with rtsp_talk(here.url) as talk:
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    talk.writer.write(piece)
                await talk.writer.drain()
        async with rtsp_talk(here.url) as talk:
            assert (await talk.ask("DESCRIBE")).status == 200


def heavy_units() -> list[AccessUnit]:
    """Forty GOPs of about a megabyte each: more than all the buffers of a connection."""
    pictures = of_track(UNITS, 1)
    filler = b"\0\x03\xd0\x90" + b"\x41\x00" + bytes(249_998)
    out = []
    for number in range(160):
        unit = pictures[0] if number % 4 == 0 else replace(pictures[1], data=pictures[1].data + filler)
        out.append(replace(unit, pts=number * 3600, dts=number * 3600, utc_ns=START_NS + number * 40_000_000))
    return out


def sequence_jumps(talk: RtspTalk) -> list[int]:
    """Where numbers of a viewer's RTP packets do not run on."""
    numbers = [int.from_bytes(frame.payload[2:4], "big") for frame in talk.frames if frame.channel == 0]
    return [n for n in range(1, len(numbers)) if numbers[n] != (numbers[n - 1] + 1) & 0xFFFF]


async def test_a_slow_viewer_is_cut_to_a_keyframe_and_slows_nobody() -> None:
    async with site() as here:
        await one_is_slow(here)
        await until(lambda: here.server.connections == 0)
        # A count that an alarm looks at never falls.
        assert here.server.overflows == 1


async def one_is_slow(here: Site) -> None:
    async with rtsp_talk(here.url, receive_bytes=65_536) as slow, rtsp_talk(here.url) as quick:
        here.publish(UNITS)
        await slow.play_interleaved(1)
        await quick.play_interleaved(1)

        async def read_all() -> None:
            while True:
                await quick.read_more()

        reading = asyncio.create_task(read_all())
        heavy = heavy_units()
        await until(lambda: quick.marked == 25)
        for number, unit in enumerate(heavy):
            here.publish([unit])
            await until(lambda number=number: quick.marked == 26 + number)  # type: ignore[misc]
            if here.server.overflows:
                break
        assert here.server.overflows == 1
        here.publish(heavy[1:4])

        async with asyncio.timeout(20):
            while not sequence_jumps(slow):
                try:
                    await asyncio.wait_for(slow.read_more(), 0.3)
                except TimeoutError:
                    # All that waited has been read: now a keyframe lets it in again.
                    here.publish([heavy[0]])
        reading.cancel()
        (jump,) = sequence_jumps(slow)
        media = [frame.payload for frame in slow.frames if frame.channel == 0]
        assert media[jump][12] & 0x1F == 7
        assert not sequence_jumps(quick)


async def test_a_stream_that_ends_or_changes_ends_the_session() -> None:
    async with site() as here, rtsp_talk(here.url) as talk, rtsp_talk(here.url) as other:
        here.publish(UNITS)
        await talk.play_interleaved(1, 2)
        await until(lambda: here.server.viewers == 1)
        changed = AudioTrack(Codec.PCMU, 8000, 1)
        here.publish([replace(of_track(UNITS, 2)[-1], track=changed)])
        await closed(talk)
        await other.play_interleaved(1)
        here.stream.end()
        await closed(other)
        await until(lambda: here.server.viewers == 0)
        assert talk.marked > 0


async def test_too_many_connections() -> None:
    async with site(limits=DoorLimits(2)) as here, rtsp_talk(here.url) as first, rtsp_talk(here.url) as second:
        here.publish(UNITS)
        assert (await first.ask("OPTIONS")).status == 200
        assert (await second.ask("OPTIONS")).status == 200
        async with rtsp_talk(here.url) as third:
            await closed(third)
        assert (await first.ask("DESCRIBE")).status == 200


async def test_a_silent_client_is_let_go_and_a_viewer_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.rtsp.server._SWEEP_S", 0.05)
    async with site() as here, rtsp_talk(here.url) as idle, rtsp_talk(here.url) as viewer:
        here.publish(UNITS)
        assert (await idle.ask("OPTIONS")).status == 200
        await viewer.play_interleaved(1)
        here.clock.advance(71)
        await closed(idle)
        here.publish(of_track(UNITS, 1))
        count = len(viewer.frames)
        while len(viewer.frames) < count + 10:
            await viewer.read_more()


async def test_udp_media_goes_to_the_client_that_asked_and_stops_with_it() -> None:
    loop = asyncio.get_running_loop()
    received: asyncio.Queue[bytes] = asyncio.Queue()

    class Sink(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            received.put_nowait(data)

    transport, _ = await loop.create_datagram_endpoint(Sink, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    try:
        async with site() as here:
            here.publish(UNITS)
            async with rtsp_talk(here.url) as talk:
                wanted = f"RTP/AVP;unicast;client_port={port}-{port + 1 if port < 65_535 else port - 1}"
                assert (await talk.ask("SETUP", here.url + "/track1", Transport=wanted)).status == 200
                assert (await talk.ask("PLAY")).status == 200
                header = parse_header(await asyncio.wait_for(received.get(), 5))
                assert header is not None
                assert header.payload_type == 96
            await until(lambda: here.server.viewers == 0)
    finally:
        transport.close()
