"""Cameras whose sound is not what they say it is."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache

import pytest

from media.codecs.aac import build_config
from media.description import MediaDescription
from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec, GapCause, Track
from tests.support.camera_simulator import HALL, BadCamera, Kept, described, keep, looped_hall
from tests.support.encoded import interleave, sound_units
from tests.support.invariants import all_is_kept, holds, in_sync, losses_are_on_record
from tests.support.misbehaviour import be_away
from tests.support.rtp_feed import START_NS, Arrival, make_units

SECONDS = 6.0


@cache
def aac_hall() -> tuple[AccessUnit, ...]:
    """Sound at 16 kHz, mono, AAC-LC. A tone, since frames of silence are all alike."""
    sounds = [
        replace(unit, utc_ns=START_NS + unit.dts * NS_PER_S // unit.track.clock_rate)
        for unit in sound_units(Codec.AAC, rate=16_000, seconds=SECONDS, start_s=0.0, frequency=431.7)
        if unit.dts >= 0
    ]
    assert len({unit.data for unit in sounds}) == len(sounds)
    return tuple(interleave(sounds, make_units(replace(HALL, audio=None), SECONDS)))


def tracks(units: Iterable[AccessUnit]) -> list[Track]:
    return sorted({unit.track.id: unit.track for unit in units}.values(), key=lambda track: track.id)


def saying(**fmtp: str | None) -> list[MediaDescription]:
    """The description with other format parameters of sound; ``None`` takes one out."""
    picture, sound = described(tracks(aac_hall()))
    parameters = {name: value for name, value in (dict(sound.fmtp) | fmtp).items() if value is not None}
    return [picture, replace(sound, fmtp=parameters)]


def the_sound(kept: Kept) -> AudioTrack:
    (track,) = kept.tracks(AudioTrack)
    assert isinstance(track, AudioTrack)
    return track


@pytest.mark.parametrize(
    "config",
    [None, "", "zz", "00", "ffffffff", build_config(48_000, 1).hex(), "1408" * 40],
    ids=["missing", "empty", "no number", "cut short", "ones", "of another rate", "too long"],
)
async def test_aac_whose_config_is(config: str | None) -> None:
    kept = await keep(BadCamera(aac_hall(), descriptions=saying(config=config)))
    holds(kept, lasted_s=SECONDS)
    all_is_kept(kept)
    in_sync(kept)
    assert (the_sound(kept).clock_rate, the_sound(kept).channels) == (16_000, 1)


async def test_aac_without_any_format_parameters() -> None:
    picture, sound = described(tracks(aac_hall()))
    kept = await keep(BadCamera(aac_hall(), descriptions=[picture, replace(sound, fmtp={})]))
    holds(kept, lasted_s=SECONDS)
    all_is_kept(kept)
    in_sync(kept)


def with_adts(units: Iterable[AccessUnit]) -> Iterator[AccessUnit]:
    for unit in units:
        if unit.track.codec is Codec.AAC:
            size = len(unit.data) + 7
            # LC, 16 kHz (index 8), one channel, no CRC.
            head = bytes((0xFF, 0xF1, 0x60, 0x40 | size >> 11, size >> 3 & 0xFF, (size & 7) << 5 | 0x1F, 0xFC))
            unit = replace(unit, data=head + unit.data)
        yield unit


@pytest.mark.parametrize("config", [None, build_config(48_000, 2).hex()], ids=["no config", "a wrong config"])
async def test_aac_with_adts_headers_in_rtp_and(config: str | None) -> None:
    kept = await keep(BadCamera(with_adts(aac_hall()), descriptions=saying(config=config)))
    holds(kept, lasted_s=SECONDS)
    assert len(kept.shown(2)) == len(kept.sent[2])
    assert kept.gaps == []
    last = kept.tracks(AudioTrack)[-1]
    assert isinstance(last, AudioTrack)
    assert (last.clock_rate, last.channels) == (16_000, 1)


async def test_aac_that_is_described_as_stereo_and_is_mono() -> None:
    picture, sound = described(tracks(aac_hall()))
    stereo = replace(sound, channels=2, fmtp=dict(sound.fmtp) | {"config": build_config(16_000, 2).hex()})
    kept = await keep(BadCamera(aac_hall(), descriptions=[picture, stereo]))
    holds(kept, lasted_s=SECONDS)
    all_is_kept(kept)


async def test_sound_whose_codec_is_not_taken_leaves_the_picture() -> None:
    picture, _ = described(tracks(aac_hall()))
    unknown = MediaDescription("audio", "G726-32", 97, 8000)
    kept = await keep(BadCamera(aac_hall(), descriptions=[picture, unknown]))
    holds(kept, lasted_s=SECONDS)
    assert [sample.true_ns for sample in kept.shown(1)] == kept.sent[1]
    assert kept.tracks(AudioTrack) == []


async def test_sound_that_is_described_and_never_comes() -> None:
    units = list(looped_hall(HALL, 8.0))
    kept = await keep(BadCamera([unit for unit in units if unit.track.id == 1], tracks=tracks(units)))
    holds(kept, lasted_s=8)
    all_is_kept(kept)


async def test_sound_that_goes_away_and_comes_back() -> None:
    kept = await keep(BadCamera(looped_hall(HALL, 30.0), (be_away(8.0, 20.0, 1),)))
    holds(kept, lasted_s=30)
    losses_are_on_record(kept, GapCause.SILENT)
    in_sync(kept)
    assert len(kept.periods) == 1


@pytest.mark.parametrize("payload", [b"", b"\0", b"\0\x10", b"\xff" * 40, b"\0\x10\0\0"])
async def test_packets_of_sound_that_hold_no_sound(payload: bytes) -> None:
    """One in ten, as from an encoder that hiccups."""

    def empty(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        for number, arrival in enumerate(arrivals):
            if arrival.index == 1 and not arrival.is_report and number % 10 == 0:
                yield replace(arrival, packet=arrival.packet[:12] + payload)
            else:
                yield arrival

    kept = await keep(BadCamera(aac_hall(), (empty,)))
    holds(kept, lasted_s=SECONDS)
    losses_are_on_record(kept, GapCause.PACKETS_LOST)
    in_sync(kept)
