"""Recorded meetings over RTSP: where they begin, how they are paced, how they end, and what is no recording."""

import asyncio
import contextlib
import re
from itertools import pairwise
from pathlib import Path

import pytest

from media.clock import SystemClock
from media.rtcp import Goodbye, SenderReport, parse_compound
from media.rtp import parse_header
from media.unit import NS_PER_S
from streaming.rtsp.sdp import parse_sdp
from tests.recorder.recordings import stretch, with_codec_change
from tests.support.encoded import ORIGIN_NS
from tests.support.rtsp_talk import rtsp_talk
from tests.web.rtsp_wall import info_of, play, sequences, set_up, utc, wall
from web.access.rtsp_recordings import RtspRecordings


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


@pytest.mark.parametrize("path", ["/meeting/\udcff", "/meeting/a%00b", "/meeting/a%ED%A0%80"])
async def test_a_meeting_that_can_have_no_such_name_is_not_found(tmp_path: Path, path: str) -> None:
    async with wall(tmp_path) as here:
        url = here.url.partition("/meeting/")[0] + path
        async with rtsp_talk(url, "wang", here.password()) as talk, asyncio.timeout(20):
            assert (await talk.ask("DESCRIBE")).status == 404


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
