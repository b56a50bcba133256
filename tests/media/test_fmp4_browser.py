"""Chromium's Media Source Extensions take our segments: the picture at a time is the picture we put there."""

import base64
from typing import Any

import pytest
from playwright.async_api import Page

from media.fmp4 import codec_string
from media.segmenter import Segmenter, SegmenterSettings
from media.segments import Part, SegmentStart
from media.transcode import encode_stretch
from media.unit import AccessUnit, AudioTrack, Codec
from tests.media.test_fmp4 import file_of, to_samples
from tests.support.browser import chromium
from tests.support.encoded import g711_units, interleave, sound_units, video_units

pytestmark = pytest.mark.browser

# Appends each track's init segment and parts, seeks to each time, and reads the 16 bars from the middle line.
PLAY = """
async ({tracks, times}) => {
  const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const video = document.createElement('video');
  video.muted = true;
  document.body.append(video);
  const source = new MediaSource();
  video.src = URL.createObjectURL(source);
  await new Promise(done => source.addEventListener('sourceopen', done, {once: true}));
  const buffers = tracks.map(track => source.addSourceBuffer(track.type));
  for (const [index, track] of tracks.entries()) {
    for (const piece of track.pieces) {
      await new Promise((done, failed) => {
        buffers[index].addEventListener('updateend', done, {once: true});
        buffers[index].addEventListener('error', () => failed(new Error('append refused')), {once: true});
        buffers[index].appendBuffer(bytes(piece));
      });
    }
  }
  source.endOfStream();
  const canvas = document.createElement('canvas');
  const numbers = [];
  for (const time of times) {
    // "seeked" comes before the picture is on screen: only the frame callback says which picture a canvas will get.
    await new Promise((done, failed) => {
      setTimeout(() => failed(new Error(`no picture at ${time}: ${video.error?.message}`)), 10_000);
      const look = (_, {mediaTime}) => {
        if (mediaTime > time - 0.041 && mediaTime <= time) done();
        else video.requestVideoFrameCallback(look);
      };
      video.requestVideoFrameCallback(look);
      video.currentTime = time;
    });
    canvas.width = video.videoWidth; canvas.height = video.videoHeight;
    const context = canvas.getContext('2d');
    context.drawImage(video, 0, 0);
    const line = context.getImageData(0, canvas.height >> 1, canvas.width, 1).data;
    let number = 0;
    const bar = Math.floor(canvas.width / 16);
    for (let bit = 0; bit < 16; bit++) number = number * 2 + (line[4 * (bar * bit + (bar >> 1))] > 128 ? 1 : 0);
    numbers.push(number);
  }
  const ranges = buffers.map(buffer => Array.from(
    {length: buffer.buffered.length}, (_, i) => [buffer.buffered.start(i), buffer.buffered.end(i)]));
  return {numbers, ranges, size: [video.videoWidth, video.videoHeight]};
}
"""


async def browser_page(run: "list[dict[str, object]]", times: list[float]) -> dict[str, Any]:
    async with chromium("--mute-audio") as browser:
        page: Page = await browser.new_page()
        page.set_default_timeout(30_000)
        result: dict[str, Any] = await page.evaluate(PLAY, {"tracks": run, "times": times})
        return result


def for_browser(track_type: str, pieces: list[bytes]) -> dict[str, object]:
    return {"type": track_type, "pieces": [base64.b64encode(piece).decode() for piece in pieces]}


async def test_segments_play_in_chromium() -> None:
    # Far from zero, where a timeline is that counts from Unix time 0.
    start_s = 1_800_000_000.0
    video = video_units(Codec.H264, frames=200, gop=50, b_frames=2, start_s=start_s)
    sound = sound_units(Codec.AAC, rate=48_000, channels=2, seconds=8, start_s=start_s)
    segmenter = Segmenter(SegmenterSettings(), 1)
    events = [event for unit in interleave(video, sound) for event in segmenter.push(unit)] + segmenter.flush()
    period = next(event for event in events if isinstance(event, SegmentStart)).period
    tracks = []
    for track in period.tracks:
        kind = "video" if track.id == 1 else "audio"
        chunks = [
            event.chunks[track.id].data for event in events if isinstance(event, Part) and track.id in event.chunks
        ]
        tracks.append(for_browser(f'{kind}/mp4; codecs="{codec_string(track)}"', [period.init[track.id], *chunks]))
    first_pts = min(unit.pts for unit in video) / 90_000
    wanted = [0, 1, 49, 50, 99, 123, 199]
    result = await browser_page(tracks, [first_pts + number * 0.04 + 0.02 for number in wanted])
    assert result["numbers"] == wanted
    assert result["size"] == [320, 180]
    # One range each: no holes between parts nor between segments.
    ((video_range,), (sound_range,)) = result["ranges"]
    assert video_range == pytest.approx([first_pts, first_pts + 8], abs=0.001)
    assert sound_range[1] - sound_range[0] == pytest.approx(8.02, abs=0.05)


async def test_aac_stretches_made_apart_are_one_range_in_chromium() -> None:
    units: list[AccessUnit] = g711_units(seconds=12)
    source = units[0].track
    assert isinstance(source, AudioTrack)
    samples = to_samples(units)
    pieces: list[bytes] = []
    for start in (101, 104, 107):
        track, frames = encode_stretch(source, samples, start * 8_000, (start + 3) * 8_000)
        whole = file_of([(track, frames)], per_fragment=1_000)
        pieces.append(whole)
    result = await browser_page([for_browser(f'audio/mp4; codecs="{codec_string(track)}"', pieces)], [])
    ((ranges),) = result["ranges"]
    assert ranges == [pytest.approx([101.056, 110.016], abs=0.07)]


async def test_opus_is_known_by_its_codec_string() -> None:
    units = sound_units(Codec.OPUS, rate=48_000, channels=2, seconds=2)
    data = file_of([(units[0].track, to_samples(units))])
    result = await browser_page([for_browser(f'audio/mp4; codecs="{codec_string(units[0].track)}"', [data])], [])
    ((ranges),) = result["ranges"]
    assert len(ranges) == 1
