"""Media over HTTP: what players fetch, with which headers, and who may."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import aiohttp
import pytest
from yarl import URL

from storage.records import RecordingKind, RecordingState
from tests.recorder.recordings import archive, record, stretch, with_codec_change, with_gap
from tests.support import playlist_rules
from tests.support.live_feed import live_stream, looped, until
from tests.support.media_site import KEY, Site, ffmpeg, from_site, media_site
from tests.support.recorded import RecordedMeeting
from tests.support.rows import recording

ALLOWED = {KEY: "let-me-in"}


@asynccontextmanager
async def recorded_site(tmp_path: Path, *stretches: object) -> AsyncIterator[tuple[Site, RecordedMeeting]]:
    """A site with one recorded meeting."""
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, stretches or (with_gap(),))  # type: ignore[arg-type]
        async with media_site(database=home.database, store=home.store) as site:
            yield site, made


@asynccontextmanager
async def live_site(**options: float) -> AsyncIterator[Site]:
    """A site with one live camera."""
    units = stretch(100.0, 8.0)
    async with live_stream(looped(units, 8.0), **options) as stream, media_site(lambda _: stream) as site:  # type: ignore[arg-type]
        await until(lambda: stream.last_keyframe is not None)
        yield site


async def crawl(session: aiohttp.ClientSession, master: str) -> dict[str, aiohttp.ClientResponse]:
    """Everything that a player would fetch, by address."""
    found: dict[str, aiohttp.ClientResponse] = {}
    queue = [master]
    while queue:
        url = queue.pop()
        if url in found:
            continue
        async with session.get(url) as answer:
            body = await answer.read()
            found[url] = answer
            assert answer.status == 200, url
            if url.split("?")[0].endswith(".m3u8"):
                text = body.decode()
                playlist_rules.check(text)
                # What is only hinted at is not there yet.
                text = re.sub("^#EXT-X-PRELOAD-HINT.*$", "", text, flags=re.MULTILINE)
                names = re.findall(r'URI="([^"]+)"', text) + re.findall(r"^(?!#)(\S+)$", text, re.MULTILINE)
                queue += [str(URL(url).join(URL(name))) for name in names]
            else:
                assert len(body) > 100
    return found


def kinds(found: dict[str, aiohttp.ClientResponse]) -> set[tuple[str, str, str]]:
    """Ending, content type and caching of each answer."""
    return {
        (
            url.split("?")[0].rsplit("/", 2)[1] + "." + url.split("?")[0].rsplit(".", 1)[1],
            answer.content_type,
            answer.headers["Cache-Control"],
        )
        for url, answer in found.items()
    }


FOREVER = "private, max-age=86400, immutable"
PLAYLIST = ("application/vnd.apple.mpegurl", "no-store")
MEDIA = {
    ("video.mp4", "video/mp4", FOREVER),
    ("video.m4s", "video/mp4", FOREVER),
    ("sound.mp4", "audio/mp4", FOREVER),
    ("sound.m4s", "audio/mp4", FOREVER),
    ("ts.ts", "video/mp2t", FOREVER),
}


async def test_everything_live_is_there_and_said_right() -> None:
    async with live_site(ahead_s=2.0) as site, aiohttp.ClientSession(headers=ALLOWED) as session:
        found = await crawl(session, f"{site.url}/live/camera/index.m3u8")
        found |= await crawl(session, f"{site.url}/live/camera/ts.m3u8")
        assert kinds(found) == MEDIA | {("camera.m3u8", *PLAYLIST)}
        assert site.gate.asked["watch camera"] == len(found)


async def test_everything_recorded_is_there_and_said_right(tmp_path: Path) -> None:
    async with recorded_site(tmp_path) as (site, made), aiohttp.ClientSession(headers=ALLOWED) as session:
        base = f"{site.url}/meetings/{made.meeting.id}/vod"
        found = await crawl(session, f"{base}/index.m3u8?start=1000")
        found |= await crawl(session, f"{base}/ts.m3u8")
        assert kinds(found) == MEDIA | {("vod.m3u8", *PLAYLIST)}
        assert site.gate.asked[f"play {made.meeting.id}"] == len(found)


async def test_nobody_gets_anything_unasked(tmp_path: Path) -> None:
    async with recorded_site(tmp_path) as (site, made), aiohttp.ClientSession() as session:
        sequence = made.segments[0].sequence
        meeting = f"/meetings/{made.meeting.id}"
        for path in (
            "/live/camera/index.m3u8", "/live/camera/video.m3u8", "/live/camera/sound/1.0.m4s", "/live/camera/ts/1.ts",
            "/live/camera/video/init-1.mp4", "/live/camera/sub/index.m3u8", "/live/camera/ts.m3u8",
            f"{meeting}/vod/index.m3u8", f"{meeting}/vod/video.m3u8", f"{meeting}/vod/video/{sequence}.m4s",
            f"{meeting}/vod/sound/{sequence}.m4s", f"{meeting}/vod/video/init-0.mp4", f"{meeting}/vod/ts.m3u8",
            f"{meeting}/vod/ts/{sequence}.ts", f"{meeting}/download.mp4",
        ):  # fmt: skip
            for method in ("GET", "HEAD"):
                async with session.request(method, site.url + path) as answer:
                    assert answer.status == 403, path


async def test_bad_requests_are_refused_and_absent_media_is_404() -> None:
    async with live_site(ahead_s=2.0) as site, aiohttp.ClientSession(headers=ALLOWED) as session:
        base = f"{site.url}/live/camera"
        for path, status in (
            ("video.m3u8?_HLS_part=1", 400), ("video.m3u8?_HLS_msn=x", 400), ("video.m3u8?_HLS_msn=-1", 400),
            ("video.m3u8?_HLS_msn=999999999999999", 400), ("video/1.m4s", 404), ("video/1.0.m4s", 404),
            ("video/init-1.mp4", 404), ("ts/1.ts", 404), ("picture.m3u8", 404), ("video/9999999999999999.m4s", 404),
        ):  # fmt: skip
            async with session.get(f"{base}/{path}") as answer:
                assert answer.status == status, path
    async with media_site() as site, aiohttp.ClientSession(headers=ALLOWED) as session:
        async with session.get(f"{site.url}/live/elsewhere/index.m3u8") as answer:
            assert answer.status == 503


@pytest.mark.parametrize("playlist", ["index.m3u8", "ts.m3u8"])
async def test_ffmpeg_plays_live(playlist: str) -> None:
    async with live_site(ahead_s=1.5) as site:
        address = f"{site.url}/live/camera/{playlist}"
        played = await ffmpeg(*from_site(address), "-t", "6", "-fps_mode", "passthrough", "-f", "null", "-")
    assert played.code == 0
    assert 148 <= played.frames <= 151
    # ffmpeg reads a live playlist's init segment again each time, and says so.
    assert [line for line in played.complaints if "duplicated MOOV" not in line] == []


@pytest.mark.parametrize("playlist", ["index.m3u8", "ts.m3u8"])
async def test_ffmpeg_plays_a_recording_across_a_gap(tmp_path: Path, playlist: str) -> None:
    async with recorded_site(tmp_path) as (site, made):
        address = f"{site.url}/meetings/{made.meeting.id}/vod/{playlist}"
        played = await ffmpeg(*from_site(address), "-fps_mode", "passthrough", "-f", "null", "-")
    assert (played.code, played.frames) == (0, 500)
    assert [line for line in played.complaints if "duplicated MOOV" not in line] == []


async def test_ffmpeg_plays_a_recording_across_a_codec_change(tmp_path: Path) -> None:
    async with recorded_site(tmp_path, with_codec_change()) as (site, made):
        address = f"{site.url}/meetings/{made.meeting.id}/vod"
        async with aiohttp.ClientSession(headers=ALLOWED) as session:
            found = await crawl(session, f"{address}/index.m3u8")
        assert len([url for url in found if "/video/init-" in url]) == 2
        # ffmpeg keeps one decoder per playlist; each side of the change is played by itself, as a span.
        frames = 0
        change = made.segments[2].start_utc_ns // 1_000_000
        for span in (f"end={change}", f"start={change}"):
            played = await ffmpeg(
                *from_site(f"{address}/index.m3u8?{span}"), "-fps_mode", "passthrough", "-f", "null", "-"
            )
            assert played.code == 0, played.log
            frames += played.frames
        assert frames == 400


async def test_a_download_goes_on_where_it_broke(tmp_path: Path) -> None:
    async with recorded_site(tmp_path) as (site, made), aiohttp.ClientSession(headers=ALLOWED) as session:
        address = f"{site.url}/meetings/{made.meeting.id}/download.mp4"
        async with session.get(address) as answer:
            data = await answer.read()
            etag = answer.headers["ETag"]
            assert answer.status == 200
            assert answer.content_type == "video/mp4"
            assert answer.content_length == len(data)
            assert answer.headers["Accept-Ranges"] == "bytes"
        async with session.head(address) as answer:
            assert (answer.status, answer.headers["Content-Length"], answer.headers["ETag"]) == (
                200, str(len(data)), etag,
            )  # fmt: skip
        for span, start, end in (
            ("bytes=1000-", 1000, len(data)), ("bytes=0-0", 0, 1), ("bytes=-500", len(data) - 500, len(data)),
            ("bytes=100000-150000", 100_000, 150_001), (f"bytes=5-{10 * len(data)}", 5, len(data)),
        ):  # fmt: skip
            async with session.get(address, headers={"Range": span, "If-Range": etag}) as answer:
                assert answer.status == 206
                assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(data)}"
                assert await answer.read() == data[start:end]
        async with session.get(address, headers={"Range": "bytes=5-9", "If-Range": '"older"'}) as answer:
            assert (answer.status, await answer.read()) == (200, data)
        async with session.get(address, headers={"Range": f"bytes={len(data)}-"}) as answer:
            assert answer.status == 416
            assert answer.headers["Content-Range"] == f"bytes */{len(data)}"
        async with session.get(address, headers={"If-None-Match": etag}) as answer:
            assert answer.status == 304
        for ignored in ("bytes=1-2,4-5", "lines=1-2", "bytes=9-5", "bytes=-", f"bytes={'9' * 5000}-", "bytes=٣-"):
            async with session.get(address, headers={"Range": ignored}) as answer:
                assert (answer.status, len(await answer.read())) == (200, len(data))


async def test_pieces_of_a_download_are_never_of_two_files(tmp_path: Path) -> None:
    """Browsers that fetch several pieces at a time ask for them by If-Match: a meeting that runs grows meanwhile."""
    async with recorded_site(tmp_path) as (site, made), aiohttp.ClientSession(headers=ALLOWED) as session:
        address = f"{site.url}/meetings/{made.meeting.id}/download.mp4"
        segment = f"{site.url}/meetings/{made.meeting.id}/vod/video/{made.segments[0].sequence}.m4s"
        for url in (address, segment):
            async with session.head(url, headers={"Range": "bytes=0-9"}) as answer:
                # No method but GET has ranges (RFC 9110, 14.2).
                assert answer.status == 200
                etag = answer.headers["ETag"]
            for condition, status in (
                ({"If-Match": etag}, 206), ({"If-Match": f'"older", {etag}'}, 206), ({"If-Match": "*"}, 206),
                ({"If-Match": '"older"'}, 412), ({"If-Match": f"W/{etag}"}, 412),
                ({"If-None-Match": f'"older", W/{etag}'}, 304), ({"If-None-Match": "*"}, 304),
                ({"If-None-Match": '"older"'}, 206),
            ):  # fmt: skip
                async with session.get(url, headers={"Range": "bytes=10-19"} | condition) as answer:
                    assert answer.status == status, condition


async def test_a_download_is_named_in_the_peoples_language(tmp_path: Path) -> None:
    async with recorded_site(tmp_path) as (site, made), aiohttp.ClientSession(headers=ALLOWED) as session:
        async with session.head(f"{site.url}/meetings/{made.meeting.id}/download.mp4") as answer:
            header = answer.headers["Content-Disposition"]
    header.encode("ascii")
    plain = re.search(r'filename="([^"]+)"', header)
    named = re.search(r"filename\*=UTF-8''(\S+)", header)
    assert plain is not None
    assert plain[1] == "meeting-20270115-080140.mp4"
    assert named is not None
    assert unquote(named[1]) == "柳树村党支部 第四季度支部党员大会-20270115-080140.mp4"


async def test_nobody_keeps_guidance_that_is_not_all_on_record_yet(tmp_path: Path) -> None:
    """Who replays a meeting that runs hears it as far as it is; who replays it later must not hear that again."""
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, [with_gap()])
        spoken = replace(recording(made.meeting), kind=RecordingKind.GUIDANCE)
        async with home.database.transaction() as repos:
            await repos.recordings.add(spoken)
        for state, kept in ((RecordingState.RECORDING, "no-store"), (RecordingState.COMPLETE, FOREVER)):
            async with home.database.transaction() as repos:
                await repos.recordings.set_state(spoken.id, state)
            async with media_site(database=home.database, store=home.store) as site:
                address = f"{site.url}/meetings/{made.meeting.id}/vod/guidance/{made.segments[0].sequence}.m4s"
                async with aiohttp.ClientSession(headers=ALLOWED) as session, session.get(address) as answer:
                    assert (answer.status, answer.headers["Cache-Control"]) == (200, kept)
                    assert ("ETag" in answer.headers) is (kept == FOREVER)


async def test_a_segment_can_be_asked_for_in_part(tmp_path: Path) -> None:
    async with recorded_site(tmp_path) as (site, made), aiohttp.ClientSession(headers=ALLOWED) as session:
        sequence = made.segments[0].sequence
        address = f"{site.url}/meetings/{made.meeting.id}/vod/video/{sequence}.m4s"
        whole = made.data[sequence, 1]
        async with session.get(address, headers={"Range": "bytes=10-19"}) as answer:
            assert (answer.status, await answer.read()) == (206, whole[10:20])
            etag = answer.headers["ETag"]
        async with session.get(address, headers={"If-None-Match": etag}) as answer:
            assert answer.status == 304
        async with session.head(address) as answer:
            assert answer.headers["Content-Length"] == str(len(whole))
