"""What officials say into a room is on record: a recording of its own, chained, and heard on replay at its moment."""

import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest

from media.stream import LiveStream, StreamId
from media.unit import NS_PER_S, Codec
from recorder.chain import chain_after
from recorder.check import FindingCode, check
from recorder.errors import MeetingStateError, NothingRecordedError
from recorder.manifest import manifest_key
from recorder.playback import Playback
from recorder.service import RecorderService
from storage.records import GENESIS_HASH, RecordingKind, RecordingState, TalkEntry
from tests.recorder.house import FAST, START_NS, House, house, until
from tests.support.encoded import ORIGIN_NS, sound_units


class Talk:
    """A meeting's stream of guidance, as streaming.talk_rooms makes it: an epoch for each turn."""

    def __init__(self, home: House, meeting: str) -> None:
        self.stream = LiveStream(StreamId(f"talk:{meeting}"), home.clock)
        self._epoch = 0

    def say(self, from_s: float, seconds: float) -> None:
        """A turn: a tone of 440 Hz from ``from_s`` of the timeline on."""
        for unit in sound_units(Codec.OPUS, seconds=seconds, start_s=from_s, epoch=self._epoch):
            self.stream.publish(unit)
        self.stream.pause()
        self._epoch += 1


def service(home: House, talks: dict[str, LiveStream]) -> RecorderService:
    def streams(name: str) -> LiveStream | None:
        return talks.get(name) or (home.camera.stream if name == home.camera.id else None)

    return RecorderService(home.database, home.store, streams, home.spool_dir, home.clock, FAST)


async def on_record(home: House) -> str:
    """Twelve seconds of a meeting, in which somebody speaks from 103 to 105 and from 108 to 108.5."""
    meeting = await home.plan()
    home.camera.connect()
    talk = Talk(home, meeting)
    async with service(home, {talk.stream.id.camera: talk.stream}) as recorder:
        await home.runs(recorder, meeting)
        entry = TalkEntry(
            id="t1", meeting_id=meeting, talker_id="u1", talker_name="王敏", office_name="县委组织部",
            started_utc_ns=START_NS + 3 * NS_PER_S,
        )  # fmt: skip
        async with home.database.transaction() as repos:
            await repos.talks.add(entry)
        assert await recorder.record_guidance(meeting)
        # From here on no word is lost, though they come all at once.
        assert talk.stream.watched
        assert await recorder.record_guidance(meeting)
        talk.say(103.0, 2.0)
        home.camera.feed(6.0)
        before = recorder.metrics.parts
        talk.say(108.0, 0.5)
        home.camera.feed(4.0)
        await until(lambda: recorder.metrics.parts > before + 5, "parts arrive")
        async with home.database.transaction() as repos:
            assert await repos.talks.close("t1", START_NS + 5 * NS_PER_S, "released")
        await recorder.end_meeting(meeting, "user1")
    return meeting


def loud(data: bytes) -> list[tuple[float, float]]:
    """Stretches of sound, in seconds of the file's own time."""
    with av.open(io.BytesIO(data), "r") as container:
        frames = [
            (float(frame.time or 0), frame.to_ndarray()[0], frame.sample_rate) for frame in container.decode(audio=0)
        ]
    found: list[tuple[float, float]] = []
    for at, wave, rate in frames:
        for index in range(0, len(wave), rate // 100):
            if np.abs(wave[index : index + rate // 100]).max() < 0.2:
                continue
            moment = at + index / rate
            if found and moment - found[-1][1] < 0.1:
                found[-1] = (found[-1][0], moment)
            else:
                found.append((moment, moment))
    return found


async def test_what_is_still_on_its_way_when_the_meeting_ends_is_on_record(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan()
        home.camera.connect()
        talk = Talk(home, meeting)
        async with service(home, {talk.stream.id.camera: talk.stream}) as recorder:
            await home.runs(recorder, meeting)
            await recorder.record_guidance(meeting)

            async def hang_up(_: str) -> None:
                # What the line still had goes out when it is closed.
                talk.say(103.0, 0.5)
                talk.stream.end()

            async def fail(_: str) -> None:
                raise RuntimeError("a listener's own fault")

            recorder.on_end += [fail, hang_up]
            await recorder.end_meeting(meeting, "user1")
        async with home.database.read() as repos:
            guidance = await repos.recordings.guidance(meeting)
            assert guidance is not None
            objects = await repos.objects.of_recording(guidance.id)
        assert guidance.state is RecordingState.COMPLETE
        seconds = sum(segment.duration_ns for item in objects for segment in item.segments) / NS_PER_S
        assert seconds == pytest.approx(0.5, abs=0.05)


async def test_guidance_is_a_recording_of_its_own_chained_and_in_the_manifest(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await on_record(home)
        camera = await home.recording(meeting)
        async with home.database.read() as repos:
            guidance = await repos.recordings.guidance(meeting)
            assert guidance is not None
            objects = await repos.objects.of_recording(guidance.id)
            assert await repos.gaps.of_recording(guidance.id) == ()
        assert (guidance.kind, guidance.state) == (RecordingKind.GUIDANCE, RecordingState.COMPLETE)
        assert camera.kind is RecordingKind.CAMERA
        assert await home.gaps(meeting) == []
        chain = GENESIS_HASH
        for item in objects:
            for segment in item.segments:
                chain = chain_after(chain, guidance.id, item.period, segment)
        assert guidance.chain_head == chain
        seconds = sum(segment.duration_ns for item in objects for segment in item.segments) / NS_PER_S
        assert seconds == pytest.approx(2.5, abs=0.1)
        starts = [segment.start_utc_ns for item in objects for segment in item.segments]
        assert starts[0] == pytest.approx(ORIGIN_NS + 103 * NS_PER_S, abs=NS_PER_S // 50)
        for recording in (camera, guidance):
            manifest = json.loads(await home.store.get(manifest_key(recording.id)))
            assert [(item["name"], item["office"]) for item in manifest["talks"]] == [("王敏", "县委组织部")]
            assert manifest["content"] == recording.kind.value
        assert (await check(home.database, home.store)).ok
        assert (await check(home.database, home.store, meeting_id=meeting)).recordings == 2
        path = home.folder / "objects" / objects[0].key
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
        codes = {finding.code for finding in (await check(home.database, home.store)).findings}
        assert FindingCode.OBJECT_HASH in codes
        assert await home.story(meeting) == ["meeting-started", "recording-runs", "meeting-ended"]


async def test_it_is_heard_at_its_moment_in_step_with_the_picture(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await on_record(home)
        with ThreadPoolExecutor(1) as executor:
            playback = Playback(home.database, home.store, None, executor)
            video, spoken = await playback.media_playlist(meeting, "video"), await playback.guidance.playlist(meeting)
            numbers = re.findall(r"^guidance/(\d+)\.m4s$", spoken, re.MULTILINE)
            assert numbers == re.findall(r"^video/(\d+)\.m4s$", video, re.MULTILINE)
            lengths = [sum(map(float, re.findall(r"#EXTINF:([\d.]+)", text))) for text in (video, spoken)]
            assert lengths[0] == pytest.approx(lengths[1], abs=0.2)
            # Each segment by itself, in any order: nothing is carried over.
            pieces = {number: await playback.guidance.segment(meeting, int(number)) for number in reversed(numbers)}
            data = playback.guidance.init() + b"".join(pieces[number] for number in numbers)
            found = loud(data)
        # The camera's timeline begins at second 100.
        assert len(found) == 2
        assert [moment for turn in found for moment in turn] == pytest.approx([103.0, 105.0, 108.0, 108.5], abs=0.05)


async def test_where_nothing_was_said_there_is_nothing(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan()
        home.camera.connect()
        async with service(home, {}) as recorder:
            with pytest.raises(MeetingStateError):
                await recorder.record_guidance(await home.plan(start_s=3600))
            await home.runs(recorder, meeting)
            home.camera.feed(4.0)
            await recorder.end_meeting(meeting, None)
        with ThreadPoolExecutor(1) as executor:
            with pytest.raises(NothingRecordedError):
                await Playback(home.database, home.store, None, executor).guidance.playlist(meeting)
