"""Recordings over RTSP: read from a source that somebody above provides, sent to one viewer at the pace of a clock.

Play time counts from the source's start in nanoseconds. A gap takes no play time: decoders wait for RTP time that
jumps, some of them for ever, so packets and RTP timestamps run on, as in recorded HLS. RTP timestamps never step back
or repeat in a session, whatever is sought; RTP-Info says what they mean.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from media.clock import Clock
from media.packetizer import Packetizer
from media.rtcp import build_goodbye, build_sender_report
from media.unit import NS_PER_S, AccessUnit, Track
from streaming.errors import RecordingError
from streaming.rtsp.sdp import payload_type_of
from streaming.rtsp.server_feed import REPORT_INTERVAL_NS, Batch, Group, compatible

log = logging.getLogger(__name__)

_TOGETHER_NS = 20_000_000
_LATE_NS = NS_PER_S
_BEHIND_S = 0.05


class RecordedPiece(Protocol):
    """A stretch without a gap inside. ``units`` are in the order of sending; their times are those of the stream that
    was recorded, which is ``shift_ns`` ahead of play time."""

    @property
    def units(self) -> Sequence[AccessUnit]:
        """At least one."""
        ...

    @property
    def shift_ns(self) -> int:
        """Stream's timeline minus play time."""
        ...


class RecordedSource(Protocol):
    """One recording, from some moment on."""

    @property
    def tracks(self) -> Sequence[Track]:
        """What it begins with."""
        ...

    @property
    def duration_ns(self) -> int:
        """How much there is to play; grows while it is still being recorded."""
        ...

    def play_time(self, utc_ns: int) -> int:
        """Play time at which the wall clock showed ``utc_ns`` or, in a gap, what comes after it."""
        ...

    def wall_clock(self, play_ns: int) -> int:
        """What the wall clock showed then, Unix nanoseconds."""
        ...

    def pieces(self, start_ns: int) -> AsyncGenerator[RecordedPiece, None]:
        """All from the keyframe at or before ``start_ns`` on. Waits for more while it is being recorded. Iterating
        raises RecordingError members."""
        ...


class RecordedLibrary(Protocol):
    """Who knows the recordings, and who may see them."""

    def names(self, path: str) -> bool:
        """Whether a request's path is that of a recording, be it there or not."""
        ...

    async def open(self, path: str, query: str, user: str | None) -> RecordedSource:
        """The recording of a path. Raises RecordingError members."""
        ...

    async def look(self, path: str, user: str | None, address: str) -> None:
        """Put on record that somebody begins to look. Raises RecordingError members: then nothing may be sent."""
        ...


@dataclass(frozen=True, slots=True)
class Cue:
    """Where playing will begin: play time, and each track's next sequence number and the RTP time at that moment."""

    start_ns: int
    packets: Mapping[int, tuple[int, int]]


class PacedOutput(Protocol):
    """A viewer of a recording."""

    @property
    def behind(self) -> bool:
        """Whether what was sent has not gone out yet."""
        ...

    def send(self, group: Group) -> None:
        """Send it."""
        ...

    def end(self, reason: str) -> None:
        """There is nothing more to send in this session."""
        ...


class RecordedPlayer:
    """Plays one source to one viewer. Owned by the viewer's connection; :meth:`close` ends it.

    ``tracks`` are those set up. Reads one piece ahead, never more.
    """

    def __init__(self, source: RecordedSource, tracks: Mapping[int, Track], clock: Clock) -> None:
        self._source = source
        self._tracks = dict(tracks)
        self._clock = clock
        self._cname = f"{secrets.token_hex(6)}@sanhui"
        self._packetizers = self._new_packetizers()
        self._epoch_ns = clock.monotonic_ns()
        self._pieces: AsyncGenerator[RecordedPiece, None] | None = None
        self._ahead: asyncio.Task[RecordedPiece | None] | None = None
        self._units: deque[AccessUnit] = deque()
        self._shift_ns = 0
        self._offsets: dict[int, int] = {}
        # ``_start_ns`` of play time is due when the monotonic clock shows ``_start_mono_ns``; its RTP time is
        # ``_rtp_zero_ns`` later than itself.
        self._start_ns = self._start_mono_ns = self._rtp_zero_ns = 0
        self._end_ns: int | None = None
        self._report_due_ns = 0
        self._goodbye = False
        self._task: asyncio.Task[None] | None = None

    @property
    def playing(self) -> bool:
        """Whether it is sending."""
        return self._task is not None and not self._task.done()

    async def cue(self, start_ns: int | None, end_ns: int | None) -> Cue | None:
        """Go to the keyframe at or before ``start_ns`` of play time, or stay where it was paused, and stop at
        ``end_ns``. None if there is nothing there. Raises RecordingError members."""
        self.pause()
        if start_ns is not None or self._pieces is None:
            await self._drop()
            if self._goodbye:
                # A source that has said goodbye is not heard again under its name (RFC 3550, 6.6).
                self._packetizers = self._new_packetizers()
                self._goodbye = False
            self._pieces = self._source.pieces(start_ns or 0)
        if not self._units and not await self._next_piece():
            return None
        first = self._units[0]
        self._start_ns = max(0, self._play_time(first, first.pts))
        self._start_mono_ns = self._clock.monotonic_ns()
        self._rtp_zero_ns = self._start_mono_ns - self._epoch_ns - self._start_ns
        self._end_ns = end_ns
        self._offsets.clear()
        return Cue(
            self._start_ns,
            {
                track_id: (packetizer.next_sequence, self._rtp_time(track_id, self._start_ns))
                for track_id, packetizer in self._packetizers.items()
            },
        )

    def play(self, output: PacedOutput) -> None:
        """Send from where :meth:`cue` went."""
        self.pause()
        self._report_due_ns = 0
        self._task = asyncio.create_task(self._run(output), name="rtsp recording")

    def pause(self) -> None:
        """Stop sending and stay here."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def close(self) -> None:
        """Stop for good."""
        self.pause()
        if self._ahead is not None:
            self._ahead.cancel()

    def _new_packetizers(self) -> dict[int, Packetizer]:
        return {
            track_id: Packetizer(
                track,
                payload_type_of(track),
                secrets.randbits(32),
                sequence=secrets.randbits(15),
                timestamp_offset=secrets.randbits(32),
            )
            for track_id, track in self._tracks.items()
        }

    # Reading

    async def _drop(self) -> None:
        self._units.clear()
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
            await asyncio.wait((ahead,))
        if self._pieces is not None:
            await self._pieces.aclose()

    async def _next_piece(self) -> bool:
        """Take the next piece; begin to read the one after. False at the end."""
        while not self._units:
            if self._ahead is None:
                self._ahead = self._begin_reading()
            # PAUSE must not interrupt the reading, or the piece would be lost.
            piece = await asyncio.shield(self._ahead)
            if piece is None:
                return False
            self._ahead = self._begin_reading()
            self._units.extend(unit for unit in piece.units if unit.track.id in self._tracks)
            if piece.shift_ns != self._shift_ns:
                self._shift_ns = piece.shift_ns
                self._offsets.clear()
        return True

    def _begin_reading(self) -> "asyncio.Task[RecordedPiece | None]":
        task = asyncio.create_task(self._read(), name="rtsp recording, ahead")
        # Who has paused may never come back for what went wrong meanwhile.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _read(self) -> RecordedPiece | None:
        assert self._pieces is not None
        return await anext(self._pieces, None)

    # Sending

    async def _run(self, output: PacedOutput) -> None:
        try:
            reason = await self._send_all(output)
        except RecordingError as error:
            log.warning("a recording cannot be played on: %s (%s)", error, error.code)
            reason = error.code
        except Exception:
            log.exception("a recording cannot be played on")
            reason = "internal"
        self._say_goodbye(output)
        if reason:
            output.end(reason)

    async def _send_all(self, output: PacedOutput) -> str:
        """Send until the end; the reason if the session cannot go on."""
        while await self._next_piece():
            unit = self._units[0]
            now_ns = self._clock.monotonic_ns()
            due_ns = self._due(unit)
            if due_ns > now_ns:
                await asyncio.sleep((due_ns - now_ns) / NS_PER_S)
                continue
            if output.behind:
                await asyncio.sleep(_BEHIND_S)
                continue
            if now_ns - due_ns > _LATE_NS:
                # The viewer or the store was slow: go on from here, rather than run after the lost time in a burst.
                self._start_mono_ns += now_ns - due_ns
            if not compatible(self._tracks[unit.track.id], unit.track):
                return "stream-changed"
            if self._end_ns is not None and self._play_time(unit, unit.dts) >= self._end_ns:
                return ""
            self._send_due(output, now_ns)
            # Late units must not keep the loop from others.
            await asyncio.sleep(0)
        return ""

    def _send_due(self, output: PacedOutput, now_ns: int) -> None:
        batches: list[Batch] = []
        if now_ns >= self._report_due_ns:
            self._report_due_ns = now_ns + REPORT_INTERVAL_NS
            batches += [self._report(track_id, now_ns) for track_id in self._packetizers]
        size = 0
        while self._units and size < 256 * 1024 and self._due(self._units[0]) <= now_ns + _TOGETHER_NS:
            unit = self._units[0]
            if not compatible(self._tracks[unit.track.id], unit.track):
                break
            self._units.popleft()
            batches.append(self._batch(unit))
            size += batches[-1].size
        output.send(Group(batches))

    def _batch(self, unit: AccessUnit) -> Batch:
        offset = self._offsets.get(unit.track.id)
        if offset is None:
            # In whole ticks, so that steps between units stay what the camera made them.
            offset = (self._rtp_zero_ns - self._shift_ns) * unit.track.clock_rate // NS_PER_S
            self._offsets[unit.track.id] = offset
        moved = AccessUnit(
            unit.track, unit.pts + offset, unit.dts + offset, unit.utc_ns, unit.data, unit.keyframe, unit.duration
        )
        return Batch(unit.track.id, self._packetizers[unit.track.id].packets(moved), starts=unit.keyframe)

    def _report(self, track_id: int, now_ns: int) -> Batch:
        """A sender report: what is due at this moment (RFC 3550, 6.4.1). The wall clock is that of sending, as for any
        sender; a recording's own would jump at each gap."""
        packetizer = self._packetizers[track_id]
        report = build_sender_report(
            packetizer.ssrc,
            self._clock.utc_ns(),
            self._rtp_time(track_id, self._start_ns + now_ns - self._start_mono_ns),
            packetizer.packets_sent,
            packetizer.octets_sent,
            self._cname,
        )
        return Batch(track_id, (report,), is_report=True)

    def _say_goodbye(self, output: PacedOutput) -> None:
        """Each source says that it is over (RFC 3550, 6.6): decoders end by it. The session may still seek back."""
        self._goodbye = True
        packets = self._packetizers.items()
        byes = [Batch(track_id, (build_goodbye(item.ssrc),), is_report=True) for track_id, item in packets]
        output.send(Group(byes))

    def _play_time(self, unit: AccessUnit, ticks: int) -> int:
        return ticks * NS_PER_S // unit.track.clock_rate - self._shift_ns

    def _due(self, unit: AccessUnit) -> int:
        return self._start_mono_ns + self._play_time(unit, unit.dts) - self._start_ns

    def _rtp_time(self, track_id: int, play_ns: int) -> int:
        ticks = (self._rtp_zero_ns + play_ns) * self._tracks[track_id].clock_rate // NS_PER_S
        return self._packetizers[track_id].rtp_timestamp(ticks)
