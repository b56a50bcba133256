"""A meeting seen by several cameras, and one whose camera changed: each can be played and taken away by itself."""

import io
from pathlib import Path
from typing import Any

import aiohttp
import av
import av.container

from media.unit import Codec
from storage.records import RecordingPeriod
from tests.recorder.recordings import archive, record, stretch, with_codec_change, with_gap
from tests.support.media_site import KEY, media_site
from web.api.recorded_parts import Part, joined, parts_of


async def fetched(http: aiohttp.ClientSession, url: str) -> bytes:
    async with http.get(url) as answer:
        assert answer.status == 200, (url, answer.status, await answer.text())
        return await answer.read()


async def test_each_camera_of_a_meeting_is_played_and_downloaded_by_itself(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        first = await record(home.database, home.store, home.county, [with_gap()])
        other = await record(
            home.database, home.store, home.county, [stretch(100.0, 8.0, size=(160, 90))], beside=first
        )
        async with (
            media_site(database=home.database, store=home.store) as site,
            aiohttp.ClientSession(headers={KEY: "let-me-in"}) as http,
        ):
            base = f"{site.url}/meetings/{first.meeting.id}"
            for camera, made in ((first.recording.camera_id, first), (other.recording.camera_id, other)):
                own = f"{base}/cameras/{camera}"
                text = (await fetched(http, f"{own}/vod/video.m3u8")).decode()
                assert text.count("#EXTINF") == len(made.segments)
                for segment in made.segments:
                    data = await fetched(http, f"{own}/vod/video/{segment.sequence}.m4s")
                    assert data == made.data[segment.sequence, 1]
                assert await fetched(http, f"{own}/vod/ts/{made.segments[0].sequence}.ts")
                with av.open(io.BytesIO(await fetched(http, f"{own}/download.mp4"))) as file:
                    assert file.streams.video[0].width == (320 if made is first else 160)
            whole = (await fetched(http, f"{base}/vod/video.m3u8")).decode()
            assert whole.count("#EXTINF") == len(first.segments)
            async with http.get(f"{base}/cameras/nobody/vod/video.m3u8") as answer:
                assert answer.status == 404


async def test_each_kind_of_picture_is_an_mp4_of_its_own(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, [with_codec_change()])
        async with home.database.read() as repos:
            parts = (await parts_of(repos, (made.recording,)))[made.recording.id]
        assert [part.picture for part in parts] == ["H.264 320×180", "H.265 320×180"]
        async with (
            media_site(database=home.database, store=home.store) as site,
            aiohttp.ClientSession(headers={KEY: "let-me-in"}) as http,
        ):
            for part, codec in zip(parts, ("h264", "hevc"), strict=True):
                url = f"{site.url}/meetings/{made.meeting.id}/download.mp4{part.query}"
                with av.open(io.BytesIO(await fetched(http, url))) as file:
                    assert file.streams.video[0].codec_context.name == codec
                    assert isinstance(file, av.container.InputContainer)
                    pictures = len(list(file.decode(video=0)))
                assert pictures == 200


def period(number: int, codec: Codec, width: int) -> RecordingPeriod:
    track: dict[str, Any] = {
        "id": 1, "codec": codec.value, "clock_rate": 90_000, "kind": "video", "width": width, "height": 180,
        "parameter_sets": [],
    }  # fmt: skip
    return RecordingPeriod(recording_id="r", number=number, tracks=[track], init={})


def test_periods_that_differ_in_nothing_a_player_minds_are_one_part() -> None:
    periods = (
        period(0, Codec.H264, 320), period(1, Codec.H264, 320), period(2, Codec.H264, 640), period(3, Codec.H264, 320)
    )  # fmt: skip
    spans = {0: (0, 10), 1: (10, 20), 2: (20, 30), 3: (40, 50)}
    assert joined(periods, spans) == (
        Part(0, 20, "H.264 320×180"), Part(20, 30, "H.264 640×180"), Part(40, 50, "H.264 320×180"),
    )  # fmt: skip
