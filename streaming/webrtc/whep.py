"""WHEP (draft-ietf-wish-whep): somebody looks at a camera. One session per viewer, over HTTP handlers that know nothing
of media.

    async with WhepSessions(port, relays, streams, clock) as whep:
        session = await whep.offer("hall", Quality.MAIN, text)
        … 201, Location: …/{session.id}, ETag: session.etag, session.answer
        await whep.close(session.id)
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from media.clock import Clock
from media.stream import LiveStream, Quality, StreamId
from media.tasks import Failures, lasting
from streaming.webrtc.adaptation import Adaptation, AdaptationSettings
from streaming.webrtc.admission import Admission, new_etag
from streaming.webrtc.choice import Agreed, choose_audio, choose_video
from streaming.webrtc.dtls import Certificates
from streaming.webrtc.errors import (
    CodecMismatchError,
    OfferUnsuitableError,
    PictureUnplayableError,
    SessionGoneError,
    StreamAwayError,
    WebRtcError,
)
from streaming.webrtc.outgoing import Outgoing
from streaming.webrtc.patch import patched
from streaming.webrtc.peer import Peer, PeerSettings, PeerState
from streaming.webrtc.port import WebRtcPort
from streaming.webrtc.relay import Relay, Relays
from streaming.webrtc.relay_track import Shape
from streaming.webrtc.sdp import (
    ABS_SEND_TIME,
    NACK,
    PLI,
    REMB,
    Choice,
    Offer,
    parse_offer,
    write_answer,
)
from streaming.webrtc.viewer import Viewer

log = logging.getLogger(__name__)

_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class WhepSettings:
    """``max_sessions`` at a time; ``offers_per_s`` are read, ``offers_burst`` at once: others are to come again."""

    max_sessions: int = 500
    offers_per_s: float = 40.0
    offers_burst: float = 80.0
    peer: PeerSettings = field(default_factory=lambda: PeerSettings(first_check_s=15.0))
    adaptation: AdaptationSettings = field(default_factory=AdaptationSettings)


@dataclass
class WhepSession:
    """One viewer's session as HTTP knows it. ``quality`` is what is sent now."""

    id: str
    camera: str
    peer: Peer
    viewer: Viewer
    answer: str
    etag: str
    quality: Quality
    adaptation: Adaptation
    relay: Relay
    """What it is sent from now."""
    adapts: bool
    """Whether it is moved between streams: not where the sub stream was asked for, or is all that can be had."""
    mid: str
    converted: bool = False
    """Whether it is sent what a transcode makes of the camera's picture."""

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.peer.reason is not None


class WhepSessions:
    """All WHEP sessions of this node. An async context manager; leaving it ends them.

    ``streams`` gives a live stream, None while nobody wants it. ``plainer`` is asked for a stream that a viewer can
    take where neither the main nor the sub stream is one (a shared transcode); None where there is no such thing.
    """

    def __init__(
        self,
        port: WebRtcPort,
        relays: Relays,
        streams: Callable[[StreamId], LiveStream | None],
        clock: Clock,
        settings: WhepSettings | None = None,
        *,
        certificates: Certificates | None = None,
        plainer: Callable[[LiveStream, Offer], contextlib.AbstractAsyncContextManager[LiveStream]] | None = None,
        failures: Failures | None = None,
    ) -> None:
        self.settings = settings or WhepSettings()
        self._port = port
        self._relays = relays
        self._streams = streams
        self._clock = clock
        self._certificates = certificates or Certificates(clock)
        self._plainer = plainer
        self._failures = failures or Failures(clock)
        self._sessions: dict[str, WhepSession] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        limits = self.settings
        self._admission = Admission(
            clock, lambda: len(self._sessions), limits.max_sessions, limits.offers_per_s, limits.offers_burst
        )
        # The same for all viewers, so that they can share packets; nobody sees another's.
        self._ssrcs = {"video": secrets.randbits(31) + 1, "audio": secrets.randbits(31) + 1}
        self._cname = secrets.token_hex(8)
        self._judging: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        work = lasting("whep lines", self._judge, self._failures)
        self._judging = asyncio.create_task(work, name="whep lines")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [*self._tasks.values(), *([self._judging] if self._judging is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __len__(self) -> int:
        """How many sessions there are."""
        return len(self._sessions)

    @property
    def sessions(self) -> tuple[WhepSession, ...]:
        """All sessions, for counters."""
        return tuple(self._sessions.values())

    def session(self, session_id: str) -> WhepSession:
        """A session. Raises SessionGoneError."""
        session = self._sessions.get(session_id)
        if session is None:
            raise SessionGoneError("no such session")
        return session

    async def offer(self, camera: str, quality: Quality, text: str) -> WhepSession:
        """Begin a session: answer an offer.

        Raises OfferBrokenError, OfferUnsuitableError, CodecMismatchError, PictureUnplayableError, StreamAwayError,
        TooManySessionsError, TranscodesFullError.
        """
        with self._admission.opening():
            offer = parse_offer(text)
            if offer.first("video", receives=True) is None and offer.first("audio", receives=True) is None:
                raise OfferUnsuitableError("the viewer wants to receive nothing", reason="direction")
            started: asyncio.Future[WhepSession] = asyncio.get_running_loop().create_future()
            session_id = secrets.token_urlsafe(18)
            task = asyncio.create_task(self._serve(session_id, camera, quality, offer, started), name=f"whep {camera}")
            self._tasks[session_id] = task
            task.add_done_callback(lambda done: self._served(session_id, done))
            try:
                return await started
            except asyncio.CancelledError:
                task.cancel()
                raise
            finally:
                # A refusal knows the frames it came through: with those who hold it in them, it would wait for the
                # garbage collector, and with it the relay and its pictures.
                del started, task

    def patch(self, session_id: str, text: str, if_match: str | None) -> tuple[WhepSession, str | None]:
        """Take candidates of the viewer's, or begin ICE anew; the answer's fragment in the latter case.

        ``if_match`` is the header as it came. Raises SessionGoneError, SessionUnnamedError, SessionChangedError,
        OfferBrokenError.
        """
        session = self.session(session_id)
        session.etag, answer = patched(session.peer, session.mid, session.etag, text, if_match)
        return session, answer

    async def close(self, session_id: str) -> None:
        """End a session. Raises SessionGoneError."""
        session = self.session(session_id)
        task = self._tasks[session_id]
        await session.peer.close()
        await asyncio.gather(task, return_exceptions=True)

    async def _serve(
        self, session_id: str, camera: str, quality: Quality, offer: Offer, started: "asyncio.Future[WhepSession]"
    ) -> None:
        """One session, from offer to end."""
        try:
            async with contextlib.AsyncExitStack() as stack:
                session, relay, sound = await self._open(session_id, camera, quality, offer, stack)
                self._sessions[session_id] = session
                if not started.done():
                    started.set_result(session)
                await self._run(session, relay, sound, stack)
        except BaseException as error:
            if not started.done():
                started.set_exception(error if isinstance(error, Exception) else SessionGoneError("stopping"))
            if not isinstance(error, WebRtcError):
                raise
        finally:
            self._sessions.pop(session_id, None)
            del started

    async def _open(
        self, session_id: str, camera: str, quality: Quality, offer: Offer, stack: contextlib.AsyncExitStack
    ) -> tuple[WhepSession, Relay, tuple[Relay, bool] | None]:
        relay, video = await self._playable(camera, quality, offer, stack)
        listened = relay
        main = self._streams(StreamId(camera))
        if relay.audio is None and main is not None and main is not relay.stream:
            # Sub streams often have no sound; the main stream is read in any case.
            listened = await stack.enter_async_context(self._relays.of(main))
            if listened.audio is None:
                # Opened just now, it has not seen the stream's cached sound yet.
                with contextlib.suppress(StreamAwayError):
                    await listened.ready(self._relays.settings.first_keyframe_s)
        if listened.audio is None and offer.first("audio", receives=True) is not None:
            await listened.sounding()
        audio = choose_audio(offer, listened, makes_opus=self._relays.makes_opus)
        if video is None and audio is None:
            raise CodecMismatchError("no medium in common", codec="-", offered="-")
        adaptation = Adaptation(self._clock, self.settings.adaptation)
        peer = Peer(self._port, offer, self._certificates, self._clock, self.settings.peer)
        viewer = Viewer(peer, self._clock, self._outgoing(video), self._outgoing(audio), adaptation, self._cname)
        await stack.enter_async_context(peer)
        choices = {item.media.mid: self._choice(item) for item in (video, audio) if item is not None}
        answer = write_answer(offer, choices, peer.local)
        mid = next(item.mid for item in offer.media if item.usable)
        # A transcode is there because the viewer can take neither stream.
        adapts = quality is Quality.MAIN and relay.stream is main
        got = relay.stream.id.quality
        session = WhepSession(session_id, camera, peer, viewer, answer, new_etag(), got, adaptation, relay, adapts, mid)
        session.converted = all(relay.stream is not self._streams(StreamId(camera, kind)) for kind in Quality)
        return session, relay, (listened, audio.opus) if audio is not None else None

    async def _playable(
        self, camera: str, quality: Quality, offer: Offer, stack: contextlib.AsyncExitStack
    ) -> tuple[Relay, Agreed | None]:
        """The relay of a stream that the viewer can take: the one asked for, else the other, else a plainer one."""
        other = Quality.SUB if quality is Quality.MAIN else Quality.MAIN
        refusal: WebRtcError | None = None
        for wanted in (quality, other):
            stream = self._streams(StreamId(camera, wanted))
            if stream is None:
                continue
            try:
                return await self._agreed(stream, offer, stack)
            except (CodecMismatchError, PictureUnplayableError, StreamAwayError) as error:
                # What the stream that was asked for is refused for is what the person should read.
                refusal = refusal or error
        source = self._streams(StreamId(camera, quality)) or self._streams(StreamId(camera, other))
        if self._plainer is not None and source is not None and not isinstance(refusal, StreamAwayError):
            plain = await stack.enter_async_context(self._plainer(source, offer))
            return await self._agreed(plain, offer, stack)
        try:
            raise refusal or StreamAwayError("the camera is away", camera=camera)
        finally:
            # It must not be known to a frame that it knows.
            del refusal

    async def _agreed(
        self, stream: LiveStream, offer: Offer, stack: contextlib.AsyncExitStack
    ) -> tuple[Relay, Agreed | None]:
        async with contextlib.AsyncExitStack() as trial:
            relay = await trial.enter_async_context(self._relays.of(stream))
            await relay.ready(self._relays.settings.first_keyframe_s)
            video = choose_video(offer, relay)
            stack.push_async_exit(trial.pop_all())
            return relay, video

    def _outgoing(self, agreed: Agreed | None) -> Outgoing | None:
        if agreed is None:
            return None
        extension = agreed.media.extensions.get(ABS_SEND_TIME, 0)
        shape = Shape(agreed.codec.payload_type, self._ssrcs[agreed.media.kind], extension)
        return Outgoing(shape)

    def _choice(self, agreed: Agreed) -> Choice:
        return Choice(
            (agreed.codec,),
            "sendonly",
            # A viewer that estimates by itself costs us nothing; transport-wide feedback would cost us its history.
            frozenset({NACK, PLI, REMB}),
            frozenset({ABS_SEND_TIME}),
            self._ssrcs[agreed.media.kind],
            self._cname,
        )

    async def _run(
        self, session: WhepSession, relay: Relay, sound: tuple[Relay, bool] | None, stack: contextlib.AsyncExitStack
    ) -> None:
        viewer = session.viewer
        stack.callback(viewer.close)
        session.peer.on_state = lambda state: viewer.news.set() if state is PeerState.CLOSED else None
        await session.peer.connected()
        if sound is not None:
            listened, opus = sound
            listened.listen(viewer, opus=opus)
            stack.callback(listened.unlisten, viewer)
        async with contextlib.AsyncExitStack() as watching:
            relay.watch(viewer)
            watching.callback(relay.unwatch, viewer)
            while not session.over and not viewer.dismissed:
                await viewer.news.wait()
                viewer.news.clear()
                session.relay = relay = await self._adapt(session, relay, watching)

    async def _judge(self) -> None:
        """Look at all viewers' lines once a second, and wake those who should have another stream."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self._look()

    def _look(self) -> None:
        # Not in the loop itself, which would hold the last session that it saw, and its pictures, while it sleeps.
        for session in self._sessions.values():
            video = session.relay.video
            session.adaptation.stream_bps = video.bitrate_bps if video is not None else 0
            if session.adapts and session.adaptation.look() is not session.quality:
                session.viewer.news.set()

    async def _adapt(self, session: WhepSession, relay: Relay, watching: contextlib.AsyncExitStack) -> Relay:
        """Move the viewer to the stream that its line carries, once that stream has a keyframe."""
        wanted = session.adaptation.look() if session.adapts else session.quality
        if wanted is session.quality or session.over:
            return relay
        stream = self._streams(StreamId(session.camera, wanted))
        if stream is None:
            return relay
        async with contextlib.AsyncExitStack() as trial:
            target = await trial.enter_async_context(self._relays.of(stream))
            if not await self._comes(target, session) or not _interchangeable(relay, target):
                return relay
            relay.unwatch(session.viewer)
            target.watch(session.viewer)
            log.info("whep: %s moved to %s", session.camera, wanted)
            kept = trial.pop_all()
        await watching.aclose()
        watching.push_async_exit(kept)
        watching.callback(target.unwatch, session.viewer)
        session.quality = wanted
        return target

    async def _comes(self, target: Relay, session: WhepSession) -> bool:
        """Wait for a keyframe of another stream; False if none comes, or the session is over first: whoever leaves
        does not wait for a camera."""
        ready = asyncio.ensure_future(target.ready(self._relays.settings.first_keyframe_s))
        over = asyncio.ensure_future(session.peer.closed())
        try:
            await asyncio.wait((ready, over), return_when=asyncio.FIRST_COMPLETED)
            return ready.done() and ready.exception() is None and not session.over
        finally:
            ready.cancel()
            over.cancel()

    def _served(self, session_id: str, task: "asyncio.Task[None]") -> None:
        self._tasks.pop(session_id, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("%s has failed", task.get_name(), exc_info=task.exception())


def _interchangeable(one: Relay, other: Relay) -> bool:
    """Whether a viewer of the one takes the other as it was answered."""
    if one.video is None or other.video is None or other.video.reordered:
        return False
    return one.video.track.codec is other.video.track.codec
