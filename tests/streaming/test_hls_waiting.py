"""Who waits for a playlist or a part: until when, and what is left of it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from media.clock import SystemClock
from media.stream import LiveStream, StreamId
from streaming.hls.errors import MediaGoneError, StreamAwayError
from streaming.hls.progress import Progress
from streaming.hls.windows import LiveWindows
from tests.streaming.test_hls_window import CAMERA, fed_window, feed, newest
from tests.support.encoded import video_units
from tests.support.live_feed import until


async def test_who_gives_up_leaves_nothing_behind() -> None:
    """A camera that is away for a week, and players that ask for its next part every few seconds."""
    progress = Progress()
    assert not await progress.until(lambda: False, 0.001)
    assert len(progress) == 0
    waiting = [asyncio.create_task(progress.until(lambda: False)) for _ in range(3)]
    await asyncio.sleep(0)
    assert len(progress) == 3
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert len(progress) == 0


async def test_a_change_wakes_whom_it_concerns() -> None:
    """The waiter of a segment is not woken, to look and wait again, by each part before its end."""
    progress, state = Progress(), {"parts": 0}
    woken: list[int] = []

    async def wait(parts: int) -> None:
        assert await progress.until(lambda: state["parts"] >= parts)
        woken.append(parts)

    waiting = [asyncio.create_task(wait(parts)) for parts in (1, 3)]
    broken = asyncio.create_task(progress.until(lambda: 1 // (1 - state["parts"]) > 1))
    await asyncio.sleep(0)
    futures = list(progress._waiters)  # noqa: SLF001
    state["parts"] = 1
    progress.advance()
    assert [future.done() for future in futures] == [True, False, True]
    # Who cannot say whether it is as they want it harms nobody else.
    with pytest.raises(ZeroDivisionError):
        await broken
    await waiting[0]
    assert woken == [1]
    state["parts"] = 3
    progress.advance()
    await waiting[1]
    assert len(progress) == 0


async def test_a_part_past_the_last_one_is_the_first_of_the_next_segment() -> None:
    """RFC 8216bis, 6.2.5.2."""
    units = video_units(frames=240, gop=50)
    async with fed_window() as (window, stream):
        # The second keyframe that ends a segment has come, and nothing of what follows.
        await feed(stream, units[:201])
        await until(lambda: window._video.segments[-1].complete and window._video.whole > 2)  # noqa: SLF001
        last = window._video.segments[-1]  # noqa: SLF001
        assert newest(await window.media_playlist("video")) == (last.msn + 1, 0)
        assert await window.media_playlist("video", last.msn, len(last.parts) - 1)
        past = asyncio.create_task(window.media_playlist("video", last.msn, len(last.parts)))
        first = asyncio.create_task(window.media_playlist("video", last.msn + 1, 0))
        # No part of the segment, and none that will come.
        with pytest.raises(MediaGoneError):
            await window.part("video", last.msn, len(last.parts))
        assert not past.done()
        assert not first.done()
        await feed(stream, units[201:])
        assert await past == await first
        assert f"video/{last.msn + 1}.0.m4s" in await past


async def test_a_window_that_closes_is_not_told_as_the_end_of_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """A player that has seen EXT-X-ENDLIST never asks again."""
    units = video_units(frames=240, gop=50)
    async with fed_window() as (window, stream):
        await feed(stream, units[:150])
        await window.media_playlist("video")
        waiting = asyncio.create_task(window.media_playlist("video", *newest(await window.media_playlist("video"))))
        await asyncio.sleep(0)
        with monkeypatch.context() as patched:
            patched.setattr("streaming.hls.intake.Intake.take", lambda *_: 1 // 0)
            await feed(stream, units[150:])
            with pytest.raises(StreamAwayError):
                await waiting
    stream = LiveStream(CAMERA, SystemClock())
    with ThreadPoolExecutor(1) as executor:
        async with LiveWindows(lambda _: stream, SystemClock(), executor) as windows:
            window = await windows.window(StreamId("camera"))
            await feed(stream, units[:150])
            waiting = asyncio.create_task(window.media_playlist("video", *newest(await window.media_playlist("video"))))
            await asyncio.sleep(0)
        with pytest.raises(StreamAwayError):
            await waiting
