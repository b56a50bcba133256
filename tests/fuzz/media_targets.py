"""Targets in ``media``: what cameras send, as far as the bytes of a recording."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

from media.clock import SystemClock
from media.codecs.aac import config_from_description, parse_config, strip_adts
from media.codecs.h264 import parameter_sets_from_fmtp as h264_sets
from media.codecs.h264 import parse_sps as parse_h264_sps
from media.codecs.h265 import parameter_sets_from_fmtp as h265_sets
from media.codecs.h265 import parse_sps as parse_h265_sps
from media.codecs.opus import OpusDepacketizer
from media.decoder_config import read_avcc, read_esds, read_hvcc, write_avcc, write_esds, write_hvcc
from media.description import MediaDescription
from media.errors import BitstreamError, ContainerError, UnsupportedCodecError
from media.fmp4 import codec_string, init_segment
from media.fmp4_read import read_fragments, read_init
from media.packetizer import Packetizer, nal_units
from media.receiver import StreamReceiver
from media.rtcp import build_goodbye, build_receiver_report, build_sender_report, parse_compound
from media.rtp import HEADER, parse_header
from media.segmenter import Segmenter, SegmenterSettings
from media.segments import Part, SegmentStart
from media.testsource import TestSourceSettings
from media.unit import AccessUnit, AudioTrack, Codec, StreamItem, VideoTrack
from streaming.rtsp.sdp import payload_type_of
from streaming.stream_session import ORIGIN_LEAD_NS
from tests.fuzz.harness import Input, Target, piece
from tests.support.rtp_feed import START_NS, description, make_units

_ORIGIN_NS = START_NS - ORIGIN_LEAD_NS
_RAW = 0x80
_SOUND = 0x40
_REPORT = 0x20
_MARKED = 0x10
_STEP = 0x0F
_SETS = (bytes.fromhex("6742c00bda0c3fee1000000300100000030328f142aa"), bytes.fromhex("68ce3c80"))
_AAC_CONFIG = bytes.fromhex("1408")


@functools.cache
def _units(video: Codec | None, audio: Codec | None) -> list[AccessUnit]:
    return make_units(TestSourceSettings(video, audio, 192, 108, 25, 60_000, gop_s=0.2), 0.36)


def _later(unit: AccessUnit) -> AccessUnit:
    """The encoder begins before zero, which a camera's timeline never does."""
    return replace(unit, pts=unit.pts + unit.track.clock_rate, dts=unit.dts + unit.track.clock_rate)


def _check_items(segmenter: Segmenter, items: Sequence[StreamItem]) -> None:
    """What a receiver gives must always make readable fragments."""
    for item in items:
        for event in segmenter.push(item):
            if isinstance(event, SegmentStart):
                for init in event.period.init.values():
                    read_init(init)
            elif isinstance(event, Part):
                for track_id, chunk in event.chunks.items():
                    assert len(read_fragments(chunk.data, track_id)) == chunk.samples


def _session(descriptions: Sequence[MediaDescription], data: bytes) -> None:
    """Packets of one session. A piece is a control octet and a packet, or a payload that gets the next RTP header."""
    source = Input(data)
    receiver = StreamReceiver(descriptions, SystemClock(), reorder=bool(source.number() & 1), origin_utc_ns=_ORIGIN_NS)
    segmenter = Segmenter(SegmenterSettings(), 1)
    sequences = [65_530, 65_530]
    timestamps = [0, 0]
    at_ns = START_NS
    for packet in source.pieces():
        control, body = packet[0] if packet else 0, packet[1:]
        index = 1 if control & _SOUND and len(descriptions) > 1 else 0
        at_ns += 20_000_000
        if control & _REPORT:
            receiver.rtcp(index, body, at_ns)
            continue
        if not control & _RAW:
            step = control & _STEP
            sequences[index] = (sequences[index] + 1 + (step == _STEP)) & 0xFFFF
            timestamps[index] = (timestamps[index] + step * 1200) & 0xFFFFFFFF
            second = descriptions[index].payload_type | (0x80 if control & _MARKED else 0)
            body = HEADER.pack(0x80, second, sequences[index], timestamps[index], 7) + body
        _check_items(segmenter, receiver.rtp(index, body, at_ns))
    receiver.receiver_report(0)
    _check_items(segmenter, receiver.flush())
    segmenter.flush()


def _session_seeds(video: Codec | None, audio: Codec | None) -> list[bytes]:
    units = _units(video, audio)
    tracks = sorted({unit.track.id: unit.track for unit in units}.values(), key=lambda track: track.id)
    packetizers = {track.id: Packetizer(track, payload_type_of(track), 7, 400) for track in tracks}
    raw, made = bytearray(b"\0"), bytearray(b"\1")
    for unit in units:
        index = next(number for number, track in enumerate(tracks) if track.id == unit.track.id)
        packets = packetizers[unit.track.id].packets(unit)
        for number, packet in enumerate(packets):
            side = _SOUND if index else 0
            marked = _MARKED if packet[1] & 0x80 else 0
            raw += piece(bytes((_RAW | side,)) + packet)
            made += piece(bytes((side | marked | (3 if number == 0 else 0),)) + packet[12:])
        raw += piece(bytes((_REPORT | (_SOUND if index else 0),)) + build_sender_report(7, unit.utc_ns, 0, 1, 1))
    return [bytes(raw[:1500]), bytes(made[:1500]), bytes(made[:800])]


def _session_target(name: str, video: Codec | None, audio: Codec | None) -> Target:
    def descriptions() -> list[MediaDescription]:
        tracks: list[VideoTrack | AudioTrack] = []
        if video is not None:
            tracks.append(VideoTrack(video, (), 0, 0))
        if audio is not None:
            rate = {Codec.AAC: 16_000, Codec.OPUS: 48_000}.get(audio, 8_000)
            tracks.append(AudioTrack(audio, rate, 1, _AAC_CONFIG if audio is Codec.AAC else b""))
        return [description(track) for track in tracks]

    told = descriptions()
    return Target(name, lambda data: _session(told, data), lambda: _session_seeds(video, audio), max_len=1500)


def _rtp(data: bytes) -> None:
    header = parse_header(data)
    if header is not None:
        assert 12 <= header.start <= header.end <= len(data)


def _rtp_seeds() -> list[bytes]:
    plain = HEADER.pack(0x80, 96, 1, 2, 3) + b"payload"
    extended = HEADER.pack(0xB1, 0xE0, 1, 2, 3) + bytes(4) + b"\xbe\xde\0\1abcd" + b"payload\2\2"
    return [plain, extended]


def _rtcp(data: bytes) -> None:
    assert len(parse_compound(data)) <= 1 + len(data) // 2


def _rtcp_seeds() -> list[bytes]:
    return [build_sender_report(1, START_NS, 5, 6, 7), build_receiver_report(1), build_goodbye(1)]


def _without(*errors: type[Exception]) -> Callable[[Callable[[], object]], None]:
    def run(step: Callable[[], object]) -> None:
        try:
            step()
        except errors:
            return

    return run


def _parameter_sets(data: bytes) -> None:
    """Sets as pieces, given to a depacketizer of either codec: a track it makes must be one that can be recorded."""
    source = Input(data)
    codec = Codec.H265 if source.number() & 1 else Codec.H264
    sets = list(source.pieces(16))
    refused = _without(BitstreamError, ContainerError)
    for nal in sets:
        refused(lambda nal=nal: (parse_h265_sps if codec is Codec.H265 else parse_h264_sps)(nal))  # type: ignore[misc]
    refused(lambda: write_avcc(tuple(sets)))
    refused(lambda: write_hvcc(tuple(sets)))
    packets = [HEADER.pack(0x80, 96, number, 3600, 1) + nal for number, nal in enumerate(sets)]
    slice_nal = b"\x26\x01\xaf" if codec is Codec.H265 else b"\x65\x88\x84"
    for number in range(6):
        packets.append(HEADER.pack(0x80, 0xE0, len(packets), 7200 + 3600 * number, 1) + slice_nal)
    receiver = StreamReceiver([description(VideoTrack(codec, (), 0, 0))], SystemClock(), origin_utc_ns=_ORIGIN_NS)
    items: list[StreamItem] = []
    for number, packet in enumerate(packets):
        items += receiver.rtp(0, packet, START_NS + number * 100_000_000)
    items += receiver.flush()
    _check_items(Segmenter(SegmenterSettings(), 1), items)
    for track in receiver.tracks:
        codec_string(track)
        assert read_init(init_segment([track]))[0].codec is codec


def _parameter_set_seeds() -> list[bytes]:
    seeds = []
    for codec in (Codec.H264, Codec.H265):
        track = _units(codec, None)[0].track
        assert isinstance(track, VideoTrack)
        seeds.append(bytes((codec is Codec.H265,)) + b"".join(piece(nal) for nal in track.parameter_sets))
    return seeds


def _records(data: bytes) -> None:
    """avcC, hvcC, esds: the configuration records of sample entries."""
    refused = _without(BitstreamError, ContainerError)
    for read in (read_avcc, read_hvcc, read_esds):
        refused(lambda read=read: read(data))  # type: ignore[misc]


def _record_seeds() -> list[bytes]:
    sets = [_units(codec, None)[0].track for codec in (Codec.H264, Codec.H265)]
    assert isinstance(sets[0], VideoTrack)
    assert isinstance(sets[1], VideoTrack)
    return [write_avcc(sets[0].parameter_sets), write_hvcc(sets[1].parameter_sets), write_esds(_AAC_CONFIG)]


def _aac(data: bytes) -> None:
    """AudioSpecificConfig alone, as hexadecimal digits of a description, and as the head of an ADTS frame."""
    source = Input(data)
    rate, channels = source.number(3), source.number()
    config = source.rest()
    refused = _without(BitstreamError)
    refused(lambda: parse_config(config))
    refused(lambda: config_from_description({"config": config.hex()}, rate, channels))
    refused(lambda: config_from_description({"config": config.decode("latin-1")}, rate, channels))
    refused(lambda: init_segment([AudioTrack(Codec.AAC, rate or 1, channels, config)]))
    strip_adts(config)
    fmtp = {"mode": "AAC-hbr", "sizelength": "13", "indexlength": "3", "config": config.hex()}
    told = MediaDescription("audio", "MPEG4-GENERIC", 97, rate, channels, fmtp)
    try:
        receiver = StreamReceiver([told], SystemClock(), origin_utc_ns=_ORIGIN_NS)
    except UnsupportedCodecError:
        return
    frame = b"\x00\x10\x00\x20abcd"
    items: list[StreamItem] = []
    for number in range(4):
        items += receiver.rtp(0, HEADER.pack(0x80, 0xE1, number, number * 1024, 1) + frame, START_NS + number * 10**8)
    _check_items(Segmenter(SegmenterSettings(), 1), [*items, *receiver.flush()])


def _aac_seeds() -> list[bytes]:
    configs = ["1408", "1190", "1388", "eb098800", "2b8a0800", "f8e82000"]
    heads = [bytes.fromhex("fff15080017ffc"), bytes.fromhex("fff9508001fffc")]
    rate = (16_000).to_bytes(3, "big") + b"\1"
    return [rate + bytes.fromhex(config) for config in configs] + [rate + head + b"frame" for head in heads]


def _opus(data: bytes) -> None:
    depacketizer = OpusDepacketizer()
    for number, packet in enumerate(Input(data).pieces()):
        depacketizer.push(packet, 0, len(packet), number * 960)


def _opus_seeds() -> list[bytes]:
    return [b"".join(piece(unit.data) for unit in _units(None, Codec.OPUS))[:400]]


def _sprop(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    names = ("sprop-parameter-sets", "sprop-vps", "sprop-sps", "sprop-pps", "sprop-max-don-diff")
    fmtp = dict.fromkeys(names, text)
    h264_sets(fmtp)
    h265_sets(fmtp)
    for encoding in ("H264", "H265"):
        receiver = StreamReceiver(
            [MediaDescription("video", encoding, 96, 90_000, 1, fmtp)], SystemClock(), origin_utc_ns=_ORIGIN_NS
        )
        for track in receiver.tracks:
            init_segment([track])


def _sprop_seeds() -> list[bytes]:
    return [b"Z0IAKeKQCgC3YC3AQEBpB4kRUA==,aM48gA==", b"QAEMAf//AWAAAAMAAAMAAAMAAAMAlqwJ"]


def _access_units(data: bytes) -> None:
    """Access units as no receiver would give them: the segmenter has to stand them, and lose nothing readable."""
    source = Input(data)
    video = VideoTrack(Codec.H264, _SETS, 192, 108)
    tracks: list[VideoTrack | AudioTrack] = [
        video,
        VideoTrack(Codec.H264, _SETS, 192, 108),
        AudioTrack(Codec.AAC, 16_000, 1, _AAC_CONFIG),
        AudioTrack(Codec.PCMA, 8_000, 1),
    ]
    segmenter = Segmenter(SegmenterSettings(max_segment_s=15), 1)
    dts = {1: 10**6, 2: 10**6}
    for _ in range(60):
        if not source:
            break
        control = source.number()
        track = tracks[control & 3]
        step = int.from_bytes(source.take(3), "big", signed=True)
        offset = source.number() if control & 4 else 0
        dts[track.id] = max(0, dts[track.id] + step)
        at = dts[track.id]
        payload = source.take(control >> 4)
        unit = AccessUnit(track, at + offset, at, START_NS + at, payload, bool(control & 8), 1024 * (track.id == 2))
        _check_items(segmenter, [unit])
        list(nal_units(payload)) if track.id == 1 else None
    segmenter.flush()


def _access_unit_seeds() -> list[bytes]:
    out = bytearray()
    for number in range(20):
        out += bytes((0x48 if number % 5 == 0 else 0x40,)) + (3600).to_bytes(3, "big") + b"\0\0\0\0"
        out += bytes((0x4A,)) + (1024).to_bytes(3, "big") + b"abcd"
    return [bytes(out)]


def _fmp4(data: bytes) -> None:
    refused = _without(ContainerError, BitstreamError)
    refused(lambda: read_init(data))
    refused(lambda: read_fragments(data))
    refused(lambda: read_fragments(data, 1))


def _fmp4_seeds() -> list[bytes]:
    seeds: list[bytes] = []
    for video, audio in ((Codec.H264, Codec.AAC), (Codec.H265, Codec.OPUS)):
        segmenter = Segmenter(SegmenterSettings(), 1)
        events = [event for unit in _units(video, audio) for event in segmenter.push(_later(unit))] + segmenter.flush()
        for event in events:
            if isinstance(event, SegmentStart):
                seeds += event.period.init.values()
            elif isinstance(event, Part):
                seeds += [chunk.data[:1500] for chunk in event.chunks.values()]
    return seeds[:8]


_BOXES = (b"moov", b"trak", b"tkhd", b"mdia", b"mdhd", b"minf", b"stbl", b"stsd", b"avc1", b"avcC", b"hvc1", b"hvcC")
_FRAGMENT_BOXES = (b"mp4a", b"esds", b"Opus", b"dOps", b"moof", b"traf", b"tfhd", b"tfdt", b"trun", b"mdat", b"uuid")

TARGETS = (
    Target("rtp_header", _rtp, _rtp_seeds, 256),
    Target("rtcp", _rtcp, _rtcp_seeds, 512),
    _session_target("rtp_h264", Codec.H264, Codec.PCMA),
    _session_target("rtp_h265", Codec.H265, None),
    _session_target("rtp_aac", None, Codec.AAC),
    _session_target("rtp_opus", None, Codec.OPUS),
    Target("parameter_sets", _parameter_sets, _parameter_set_seeds, 512),
    Target("sprop", _sprop, _sprop_seeds, 512),
    Target("decoder_config", _records, _record_seeds, 512),
    Target("aac_config", _aac, _aac_seeds, 128),
    Target("opus", _opus, _opus_seeds, 512),
    Target("access_units", _access_units, _access_unit_seeds, 400),
    Target("fmp4", _fmp4, _fmp4_seeds, 2048, _BOXES + _FRAGMENT_BOXES),
)
