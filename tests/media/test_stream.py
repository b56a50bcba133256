"""A live stream's segments over several readers' comings and goings."""

import gc

from media.fanout import ReaderLimits
from media.segments import Part, SegmentEnd, SegmentStart
from media.stream import LiveStream, StreamId
from media.unit import NS_PER_S, AccessUnit, Codec
from tests.support.clocks import FakeClock
from tests.support.encoded import ORIGIN_NS, video_units


async def numbers(stream: LiveStream, start_s: float, epoch: int) -> list[int]:
    """What one reader sees of six seconds."""
    with stream.read_segments("test") as reader:
        for unit in video_units(Codec.H264, frames=60, fps=10, gop=20, start_s=start_s, epoch=epoch):
            stream.publish(unit)
        return [event.sequence for event in await reader.take() if isinstance(event, SegmentStart)]


async def test_numbers_of_segments_grow_for_the_whole_life_of_a_stream() -> None:
    clock = FakeClock(ORIGIN_NS + 5000 * NS_PER_S)
    stream = LiveStream(StreamId("hall"), clock)
    first = await numbers(stream, 5000.0, 0)
    # Nobody reads for a moment, in which the clock is set back.
    clock.advance(-3600)
    second = await numbers(stream, 1400.0, 1)
    seen = first + second
    assert len(seen) >= 3
    assert seen == sorted(set(seen))


async def test_readers_that_fell_behind_are_counted_after_they_have_gone_too() -> None:
    stream = LiveStream(StreamId("hall"), FakeClock(ORIGIN_NS))
    for fallen in (1, 2):
        with stream.read_units("slow", ReaderLimits(max_items=5), from_gop=False):
            for unit in video_units(Codec.H264, frames=10, fps=10, gop=20, epoch=fallen):
                stream.publish(unit)
            assert stream.overflows == fallen
        assert stream.overflows == fallen


async def first_length_s(camera: str) -> float:
    """How long the first segment is of a stream whose keyframes are a second apart."""
    stream = LiveStream(StreamId(camera), FakeClock(ORIGIN_NS))
    with stream.read_segments("test") as reader:
        for unit in video_units(Codec.H264, frames=120, fps=10, gop=10):
            stream.publish(unit)
        lengths = [event.duration_ns / NS_PER_S for event in await reader.take() if isinstance(event, SegmentEnd)]
    # Whatever the first was, the others are as long as they are to be.
    assert set(lengths[1:]) == {4.0}
    return lengths[0]


async def test_cameras_that_begin_together_end_their_segments_apart() -> None:
    lengths = [await first_length_s(f"room {number}") for number in range(60)]
    assert {lengths.count(length) > 5 for length in (1.0, 2.0, 3.0, 4.0)} == {True}
    assert set(lengths) == {1.0, 2.0, 3.0, 4.0}
    # A camera's is the same each time: what two services, or two readers, see of it can be compared.
    assert lengths[:5] == [await first_length_s(f"room {number}") for number in range(5)]


def in_memory(kind: type[AccessUnit] | type[Part]) -> int:
    """How many of them there are, whoever keeps them."""
    gc.collect()
    return sum(isinstance(thing, kind) for thing in gc.get_objects())


async def test_a_reader_keeps_nothing_alive_of_what_it_began_with() -> None:
    stream = LiveStream(StreamId("hall"), FakeClock(ORIGIN_NS))
    others = {kind: in_memory(kind) for kind in (AccessUnit, Part)}

    def pictures(number: int, count: int) -> None:
        for unit in video_units(Codec.H264, frames=count, fps=10, gop=20, start_s=2.0 * number):
            stream.publish(unit)

    pictures(0, 18)
    with stream.read_units("viewer") as viewer, stream.read_segments("recording") as recording:
        assert len(await viewer.take()) == 18, "they begin with the cached GOP"
        assert sum(isinstance(event, Part) for event in await recording.take()) >= 2
        for number in range(1, 8):
            pictures(number, 20)
            await viewer.take()
            await recording.take()
        pictures(8, 1)
        await viewer.take()
        await recording.take()
        # What is left is what the stream itself has: the keyframe, and two seconds of the open segment. What
        # tests before this one left may go meanwhile.
        assert in_memory(AccessUnit) - others[AccessUnit] <= 1
        assert in_memory(Part) - others[Part] <= 4
