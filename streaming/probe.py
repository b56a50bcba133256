"""Try a camera out, step by step, and say in codes what a person should change.

Each step is yielded when it begins (``running``) and when it ends, so that a page can show progress; the picture comes
in between, while it is still being measured. A step that fails is the last one. Codes of advice, with parameters:

    transport-changed   {asked, got}           the camera took another transport than the one set
    udp-blocked         {}                     nothing arrived over UDP, so TCP was taken
    gop-long            {gop_s, advised_s}     a viewer waits that long for the first picture
    smart-codec         {gop_s}                H.264+/H.265+ ("smart codec") stretches keyframes apart: turn it off
    no-picture          {}                     the camera sends sound alone
    sound-only          {}                     the same, of one that is being recorded or watched
    h265-players        {}                     old set-top boxes and browsers do not play H.265
    fps-low             {fps, advised_fps}
    bitrate-high        {bitrate_mbps, advised_mbps}
    packets-lost        {lost, packets}
    no-sound            {}
    sound-unsupported   {encoding}
    clock-off           {offset_s}             positive where the camera is ahead
"""

import asyncio
import contextlib
import dataclasses
import itertools
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from media.clock import Clock
from media.errors import MediaError
from media.picture import still
from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec, StreamItem, VideoTrack
from streaming.addresses import AddressGuard
from streaming.camera_status import Advice, Problem, transport_advice
from streaming.errors import CameraSilentError, DatagramsMissingError, InternalCameraError, StreamingError
from streaming.rtsp.client import RtspClient
from streaming.rtsp.sdp import SdpMedia
from streaming.rtsp.settings import RtspSettings
from streaming.source import CameraSource, Transport

log = logging.getLogger(__name__)

Facts = dict[str, str | int | float]


class ProbeStage(StrEnum):
    """The steps, in their order."""

    REACH = "reach"
    LOGIN = "login"
    DESCRIBE = "describe"
    PICTURE = "picture"
    SOUND = "sound"
    CLOCK = "clock"


class Outcome(StrEnum):
    """How a step went. Running says that it has begun; a warning comes with advice; skipped is what could not be found
    out."""

    RUNNING = "running"
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class ProbeStep:
    """One step. ``facts`` by stage:

    reach: url, certificate (SHA-256, with TLS alone) · login: (none) · describe: transport, video, audio (encodings as
    offered) · picture: codec, width, height, and at its end gop_s (0 if longer than watched), fps, bitrate_bps,
    packets, packets_lost · sound: codec, rate, channels · clock: offset_ms. ``still`` is a JPEG of the first keyframe,
    with the picture step alone.
    """

    stage: ProbeStage
    outcome: Outcome
    took_ms: int
    facts: Facts = field(default_factory=dict)
    advice: tuple[Advice, ...] = ()
    problem: Problem | None = None
    still: bytes | None = None


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """``picture_s`` is how long the first keyframe may take, ``measure_s`` how long GOP, rate and sound are watched,
    ``clock_s`` how long after that a sender report is waited for. The limits are those from which advice is given."""

    picture_s: float = 30.0
    measure_s: float = 12.0
    clock_s: float = 4.0
    still_width: int = 640
    long_gop_s: float = 4.0
    smart_gop_s: float = 8.0
    advised_gop_s: float = 2.0
    low_fps: float = 10.0
    advised_fps: float = 25.0
    high_bitrate_bps: int = 8_000_000
    advised_bitrate_bps: int = 4_000_000
    clock_off_s: float = 2.0
    rtsp: RtspSettings = field(default_factory=RtspSettings)


class _Watch:
    """Counts what comes. Keeps one keyframe and no other unit."""

    def __init__(self, clock: Clock) -> None:
        self.keyframe: AccessUnit | None = None
        self.audio: AudioTrack | None = None
        self.keyframe_times_ns: list[int] = []
        self.pictures = 0
        self.bytes = 0
        self.first_ns = 0
        self.newest_ns = 0
        self.news = asyncio.Event()
        self._clock = clock

    def publish(self, item: StreamItem) -> None:
        """Take an item in."""
        if not isinstance(item, AccessUnit):
            return
        self.bytes += len(item.data)
        if isinstance(item.track, VideoTrack):
            self.pictures += 1
            self.newest_ns = item.utc_ns
            self.first_ns = self.first_ns or item.utc_ns
            if item.keyframe:
                self.keyframe = self.keyframe or item
                if len(self.keyframe_times_ns) < 100:
                    self.keyframe_times_ns.append(item.utc_ns)
                self.news.set()
        elif self.audio is None:
            self.audio = item.track
            self.news.set()

    @property
    def gop_s(self) -> float:
        """The longest distance between keyframes seen, seconds; 0 if there were not two."""
        times = self.keyframe_times_ns
        return max(((b - a) / NS_PER_S for a, b in itertools.pairwise(times)), default=0.0)

    @property
    def fps(self) -> float:
        """Pictures a second."""
        elapsed_s = (self.newest_ns - self.first_ns) / NS_PER_S
        return round((self.pictures - 1) / elapsed_s, 1) if elapsed_s > 0 else 0.0


async def probe(
    source: CameraSource, clock: Clock, guard: AddressGuard, settings: ProbeSettings | None = None
) -> AsyncGenerator[ProbeStep, None]:
    """Try ``source`` and yield each step as it ends. Never raises for what a camera does; close it to stop early."""
    prober = _Prober(source, clock, guard, settings or ProbeSettings())
    steps = prober.steps()
    async with contextlib.aclosing(steps):
        while True:
            try:
                yield await anext(steps)
            except StopAsyncIteration:
                return
            except (StreamingError, MediaError) as error:
                yield prober.failed(error)
                return
            except Exception:
                # Somebody is waiting at a page: a fault of ours is a step that failed, and a trace in the log.
                log.exception("probe of %s: internal fault", source.camera_id)
                yield prober.failed(InternalCameraError("internal fault"))
                return


class _Prober:
    """One probe. Remembers the stage it is in and since when."""

    def __init__(self, source: CameraSource, clock: Clock, guard: AddressGuard, settings: ProbeSettings) -> None:
        self._source = source
        self._clock = clock
        self._guard = guard
        self._settings = settings
        self._stage = ProbeStage.REACH
        self._since_ns = clock.monotonic_ns()
        self._watch = _Watch(clock)

    async def steps(self) -> AsyncGenerator[ProbeStep, None]:
        """The steps. Raises what goes wrong in the stage that is running."""
        source = self._source
        async with RtspClient(source, self._clock, self._guard, self._settings.rtsp) as client:
            yield self._begin(ProbeStage.REACH)
            await client.connect()
            facts: Facts = {"url": client.url}
            if client.certificate:
                facts["certificate"] = client.certificate
            yield self._done(facts)
            yield self._begin(ProbeStage.LOGIN)
            await client.describe()
            yield self._done({})
            yield self._begin(ProbeStage.DESCRIBE)
            await client.play(self._watch.publish, origin_utc_ns=self._clock.utc_ns())
            yield self._described(client)
            try:
                async with contextlib.aclosing(self._play_steps(client)) as steps:
                    async for step in steps:
                        yield step
            except DatagramsMissingError:
                if source.transport is not Transport.UDP:
                    raise
            else:
                return
        async with contextlib.aclosing(self._steps_over_tcp()) as steps:
            async for step in steps:
                yield step

    async def _steps_over_tcp(self) -> AsyncGenerator[ProbeStep, None]:
        """What a camera's session does where nothing comes over UDP: the same again, over TCP."""
        source = dataclasses.replace(self._source, transport=Transport.TCP)
        self._watch = _Watch(self._clock)
        async with RtspClient(source, self._clock, self._guard, self._settings.rtsp) as client:
            yield self._begin(ProbeStage.DESCRIBE)
            await client.connect()
            await client.describe()
            await client.play(self._watch.publish, origin_utc_ns=self._clock.utc_ns())
            yield self._described(client, Advice("udp-blocked"))
            async with contextlib.aclosing(self._play_steps(client)) as steps:
                async for step in steps:
                    yield step

    async def _play_steps(self, client: RtspClient) -> AsyncGenerator[ProbeStep, None]:
        running = asyncio.create_task(client.run(), name=f"probe {self._source.camera_id}")
        try:
            async with contextlib.aclosing(self._media_steps(client, running)) as steps:
                async for step in steps:
                    yield step
        finally:
            running.cancel()
            await asyncio.wait((running,))
            if not running.cancelled():
                running.exception()

    async def _media_steps(self, client: RtspClient, running: "asyncio.Task[None]") -> AsyncGenerator[ProbeStep, None]:
        settings, watch = self._settings, self._watch
        yield self._begin(ProbeStage.PICTURE)
        if any(media.kind == "video" for media in self._taken(client)):
            await self._until(running, lambda: watch.keyframe is not None, settings.picture_s)
            picture = await self._picture()
            yield dataclasses.replace(picture, outcome=Outcome.RUNNING)
            await self._until(running, self._measured, settings.measure_s, required=False)
            yield self._measure(client, picture)
        else:
            yield self._done({}, Advice("no-picture"))
        yield self._begin(ProbeStage.SOUND)
        if any(media.kind == "audio" for media in self._taken(client)):
            await self._until(running, lambda: watch.audio is not None, settings.clock_s, required=False)
        yield self._sound(client)
        yield self._begin(ProbeStage.CLOCK)
        await self._until(running, lambda: _clock_offset_ns(client) is not None, settings.clock_s, required=False)
        yield self._clock_step(client)

    def failed(self, error: StreamingError | MediaError) -> ProbeStep:
        """The last step, when ``error`` ended it."""
        problem = Problem(error.code, dict(error.params))
        return ProbeStep(self._stage, Outcome.FAILED, self._took_ms(), problem=problem)

    def _begin(self, stage: ProbeStage) -> ProbeStep:
        self._stage = stage
        self._since_ns = self._clock.monotonic_ns()
        return ProbeStep(stage, Outcome.RUNNING, 0)

    def _took_ms(self) -> int:
        return (self._clock.monotonic_ns() - self._since_ns) // 1_000_000

    def _done(self, facts: Facts, *advice: Advice) -> ProbeStep:
        outcome = Outcome.WARNING if advice else Outcome.OK
        return ProbeStep(self._stage, outcome, self._took_ms(), facts, advice)

    def _taken(self, client: RtspClient) -> list[SdpMedia]:
        if client.description is None or client.receiver is None:
            return []
        pairs = zip(client.description.media, client.receiver.counters, strict=True)
        return [media for media, counters in pairs if counters is not None]

    async def _until(
        self, running: "asyncio.Task[None]", met: Callable[[], bool], seconds: float, *, required: bool = True
    ) -> None:
        """Wait until ``met``, looking again at each news and four times a second. Raises what ended the session, and
        CameraSilentError if ``required`` and the time is over."""
        deadline_ns = self._clock.monotonic_ns() + int(seconds * NS_PER_S)
        while not met():
            left_s = (deadline_ns - self._clock.monotonic_ns()) / NS_PER_S
            if left_s <= 0:
                if required:
                    raise CameraSilentError("no keyframe in time", seconds=seconds)
                return
            self._watch.news.clear()
            news = asyncio.ensure_future(self._watch.news.wait())
            try:
                await asyncio.wait((running, news), timeout=min(left_s, 0.25), return_when=asyncio.FIRST_COMPLETED)
            finally:
                news.cancel()
            if running.done():
                running.result()

    def _described(self, client: RtspClient, *advice: Advice) -> ProbeStep:
        facts: Facts = {"transport": str(client.transport)}
        for media in client.description.media if client.description is not None else ():
            if media.description is not None:
                facts.setdefault(media.kind, media.description.encoding)
        return self._done(facts, *(advice or transport_advice(self._source, client.transport)))

    async def _picture(self) -> ProbeStep:
        keyframe = self._watch.keyframe
        assert keyframe is not None
        track = keyframe.track
        assert isinstance(track, VideoTrack)
        loop = asyncio.get_running_loop()
        took_ms = self._took_ms()
        jpeg = await loop.run_in_executor(None, still, track, keyframe.data, self._settings.still_width)
        facts: Facts = {"codec": str(track.codec), "width": track.width, "height": track.height}
        advice = (Advice("h265-players"),) if track.codec is Codec.H265 else ()
        return dataclasses.replace(self._done(facts, *advice), took_ms=took_ms, still=jpeg)

    def _measured(self) -> bool:
        # Three keyframes, so that the burst with which a camera begins does not pass for its GOP.
        times = self._watch.keyframe_times_ns
        elapsed_s = (self._watch.newest_ns - self._watch.first_ns) / NS_PER_S
        return len(times) >= 3 and elapsed_s >= min(3.0, self._settings.measure_s)

    def _measure(self, client: RtspClient, picture: ProbeStep) -> ProbeStep:
        settings, watch = self._settings, self._watch
        elapsed_s = (watch.newest_ns - watch.first_ns) / NS_PER_S
        bitrate = round(watch.bytes * 8 / elapsed_s) if elapsed_s > 0 else 0
        counters = [one for one in (client.receiver.counters if client.receiver is not None else ()) if one is not None]
        packets, lost = sum(one.packets for one in counters), sum(one.lost for one in counters)
        facts: Facts = {
            **picture.facts,
            "gop_s": round(watch.gop_s, 2),
            "fps": watch.fps,
            "bitrate_bps": bitrate,
            "packets": packets,
            "packets_lost": lost,
        }
        # No second keyframe: the GOP is at least as long as was watched.
        gop_s = round(watch.gop_s or elapsed_s, 1)
        advice = list(picture.advice)
        if gop_s >= settings.smart_gop_s:
            advice.append(Advice("smart-codec", {"gop_s": gop_s}))
        if gop_s > settings.long_gop_s:
            advice.append(Advice("gop-long", {"gop_s": gop_s, "advised_s": settings.advised_gop_s}))
        if 0 < watch.fps < settings.low_fps:
            advice.append(Advice("fps-low", {"fps": watch.fps, "advised_fps": settings.advised_fps}))
        if bitrate > settings.high_bitrate_bps:
            rates: Facts = {
                "bitrate_mbps": round(bitrate / 1e6, 1),
                "advised_mbps": round(settings.advised_bitrate_bps / 1e6, 1),
            }
            advice.append(Advice("bitrate-high", rates))
        if lost:
            advice.append(Advice("packets-lost", {"lost": lost, "packets": packets}))
        # The time that counts is how long a viewer waits for the first picture, not how long we watched.
        return dataclasses.replace(self._done(facts, *advice), took_ms=picture.took_ms, still=picture.still)

    def _sound(self, client: RtspClient) -> ProbeStep:
        track = self._watch.audio
        if track is not None:
            return self._done({"codec": str(track.codec), "rate": track.clock_rate, "channels": track.channels})
        taken = self._taken(client)
        for media in client.description.media if client.description is not None else ():
            if media.kind == "audio" and media not in taken and media.description is not None:
                return self._done({}, Advice("sound-unsupported", {"encoding": media.description.encoding}))
        return self._done({}, Advice("no-sound"))

    def _clock_step(self, client: RtspClient) -> ProbeStep:
        offset_ns = _clock_offset_ns(client)
        if offset_ns is None:
            return ProbeStep(self._stage, Outcome.SKIPPED, self._took_ms())
        offset_s = offset_ns / NS_PER_S
        facts: Facts = {"offset_ms": round(offset_s * 1000)}
        if abs(offset_s) > self._settings.clock_off_s:
            return self._done(facts, Advice("clock-off", {"offset_s": round(offset_s, 1)}))
        return self._done(facts)


def _clock_offset_ns(client: RtspClient) -> int | None:
    counters = client.receiver.counters if client.receiver is not None else ()
    return next((one.clock_offset_ns for one in counters if one and one.clock_offset_ns is not None), None)
