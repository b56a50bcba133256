"""One meeting as its page and the lists show it: recording, playback addresses, and what the person may do."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from media.stream import StreamId
from media.unit import NS_PER_S, AudioTrack, VideoTrack
from recorder.errors import NothingRecordedError
from recorder.state import LiveState
from storage.records import GapRecord, MeetingPlace, MeetingState, Recording, RecordingTotals
from storage.repositories import Repositories
from streaming.camera_status import CameraState
from web.access.scopes import Scope
from web.api import present
from web.api.recorded_parts import Part, parts_of
from web.api.schemas.common import Action
from web.api.schemas.meetings import (
    LiveSource,
    Meeting,
    MeetingActions,
    MeetingSummary,
    RecordedPart,
    RecordedSource,
    RecordingSummary,
)
from web.api.timeline_view import Stretch, joined, missing_s
from web.call import Call


@dataclass(frozen=True, slots=True)
class RecordedFacts:
    """What rows say of a meeting's recordings."""

    recordings: tuple[Recording, ...] = ()
    totals: tuple[RecordingTotals, ...] = ()
    gaps: tuple[GapRecord, ...] = ()
    parts: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)


async def recorded_facts(repos: Repositories, place: MeetingPlace) -> RecordedFacts:
    """Read what is on record of a meeting; nothing is asked for one that has not begun."""
    if place.meeting.started_utc_ns is None:
        return RecordedFacts()
    recordings = await repos.recordings.of_meeting(place.meeting.id)
    totals = tuple([await repos.recordings.totals(item.id) for item in recordings])
    gaps = [gap for item in recordings for gap in await repos.gaps.of_recording(item.id)]
    return RecordedFacts(recordings, totals, tuple(gaps), await parts_of(repos, recordings))


def recording_summary(
    place: MeetingPlace, facts: RecordedFacts, live: LiveState | None, now_ns: int
) -> RecordingSummary:
    """How much is on record, and how much of it is not yet in the object store."""
    running = place.meeting.state is MeetingState.RUNNING
    lost_s = missing_s(facts.gaps, now_ns)
    starts = [item.first_utc_ns for item in facts.totals if item.first_utc_ns is not None]
    ends = [item.last_utc_ns for item in facts.totals if item.last_utc_ns is not None]
    if live is not None:
        starts += [item.since_utc_ns for item in live.recordings if item.since_utc_ns is not None]
        ends += [item.last_part_utc_ns for item in live.recordings if item.last_part_utc_ns is not None]
    recorded_s = 0.0
    if starts and ends:
        span = Stretch(min(starts), max(ends))
        inside = [gap for gap in facts.gaps if gap.start_utc_ns >= span.start_ns and gap.start_utc_ns < span.end_ns]
        recorded_s = max(0.0, (span.end_ns - span.start_ns) / NS_PER_S - missing_s(inside, span.end_ns))
    return RecordingSummary(
        state=present.recording_state(facts.recordings, live, running=running),
        recorded_s=round(recorded_s, 1),
        gap_count=len(facts.gaps),
        gap_s=lost_s,
        size_bytes=live.bytes if live is not None else sum(item.bytes for item in facts.totals),
        waiting_bytes=live.spool_bytes if live is not None else 0,
    )


def summary(call: Call, place: MeetingPlace, facts: RecordedFacts) -> MeetingSummary:
    """A meeting in a list."""
    live = call.services.recorder.live_state(place.meeting.id)
    return MeetingSummary(
        **dict(present.brief(place.meeting, call.catalog)),
        organization=present.organization_ref(place.organization),
        town=present.town_ref(call.picture, place.organization.id),
        site=present.site_ref(place.site),
        camera=present.camera_ref(place.camera),
        recording=recording_summary(place, facts, live, call.services.clock.utc_ns()),
        still_url=present.still_url(place.camera.id) if place.meeting.state is MeetingState.RUNNING else None,
    )


def whole(call: Call, place: MeetingPlace, facts: RecordedFacts) -> Meeting:
    """A meeting with all that its page shows."""
    meeting, picture = place.meeting, call.picture
    live = call.services.recorder.live_state(meeting.id)
    shown = summary(call, place, facts)
    actions = _actions(call, place, has_media=shown.recording.recorded_s > 0 or shown.recording.size_bytes > 0)
    refused = meeting.state is MeetingState.RUNNING and not place.camera.supervision_allowed
    sources = _recorded_sources(call, place, facts) if not refused and _may_play(call, facts, live) else []
    return Meeting(
        **dict(shown),
        record=meeting.record,
        no_record_reason=meeting.no_record_reason,
        created_by=present.person_ref(picture, meeting.created_by),
        started_by=present.person_ref(picture, meeting.started_by),
        ended_by=present.person_ref(picture, meeting.ended_by),
        live=_live_source(call, place) if actions.watch.allowed else None,
        playback=sources[0] if sources else None,
        recordings=sources,
        viewers=len(call.services.viewers.of_camera(place.camera.id)) if actions.watch.allowed else 0,
        actions=actions,
    )


def _may_play(call: Call, facts: RecordedFacts, live: LiveState | None) -> bool:
    has_media = any(item.objects for item in facts.totals) or (live is not None and live.bytes > 0)
    return has_media and call.principal.may(Scope.RECORDINGS_PLAY)


def _live_source(call: Call, place: MeetingPlace) -> LiveSource:
    camera = place.camera
    status = call.services.supervisor.status(camera.id)
    stream = call.services.directory.stream(StreamId(camera.id))
    tracks = stream.tracks if stream is not None else ()
    return LiveSource(
        camera=present.camera_ref(camera),
        online=status is not None and status.state is CameraState.ONLINE,
        has_video=any(isinstance(track, VideoTrack) for track in tracks),
        has_audio=any(isinstance(track, AudioTrack) for track in tracks),
        hls_url=present.live_url(camera.id),
        rtc_url=present.rtc_url(camera.id),
        talk_url=present.talk_url(place.meeting.id),
        voice_url=present.voice_url(place.meeting.id),
        ts_url=present.live_ts_url(camera.id),
        rtsp_url=present.rtsp_url(call.request.url.host or "localhost", call.services.rtsp_port(), camera.id),
        still_url=present.still_url(camera.id),
    )


def _recorded_sources(call: Call, place: MeetingPlace, facts: RecordedFacts) -> list[RecordedSource]:
    """One for each camera, in order of their beginning; those that stored nothing yet last."""
    stored = {item.id for item, totals in zip(facts.recordings, facts.totals, strict=True) if totals.objects}
    ordered = sorted(facts.recordings, key=lambda item: item.id not in stored)
    kept = [item for item in ordered if item.id in stored] or ordered[:1]
    return [_recorded_source(call, place, item, facts.parts.get(item.id, ()), kept) for item in kept]


def _recorded_source(
    call: Call, place: MeetingPlace, recording: Recording, parts: tuple[Part, ...], beside: list[Recording]
) -> RecordedSource:
    meeting = place.meeting
    base = f"/meetings/{meeting.id}" + (f"/cameras/{recording.camera_id}" if len(beside) > 1 else "")
    known = call.picture.cameras.get(recording.camera_id)
    camera = known.camera if known is not None else place.camera
    zone = call.services.settings.zone
    title = f"{place.organization.name} {present.title_of(meeting, call.catalog)}"
    if len(beside) > 1:
        title += f" {camera.name}"

    def name(start_ns: int) -> str:
        return f"{title} {present.at(start_ns).astimezone(zone):%Y-%m-%d %H-%M}.mp4"

    download_url = f"{base}/download.mp4"
    return RecordedSource(
        camera=present.camera_ref(camera),
        hls_url=f"{base}/vod/index.m3u8",
        ts_url=f"{base}/vod/ts.m3u8",
        download_url=download_url,
        download_name=name(meeting.started_utc_ns or 0),
        parts=[
            RecordedPart(
                starts_at=present.at(part.start_ns),
                ends_at=present.at(part.end_ns),
                picture=part.picture,
                download_url=f"{download_url}{part.query}",
                download_name=name(part.start_ns),
            )
            for part in parts
        ],
    )


def _actions(call: Call, place: MeetingPlace, *, has_media: bool) -> MeetingActions:
    state = place.meeting.state
    can_begin = state in {MeetingState.PLANNED, MeetingState.MISSED}
    planned = state is MeetingState.PLANNED
    running = state is MeetingState.RUNNING
    watch = "" if running else "meeting-not-live"
    if running and not place.camera.supervision_allowed:
        watch = "supervision-refused"
    nothing = "" if has_media else "nothing-recorded"
    if not place.meeting.record:
        nothing = "recording-refused"
    params = {"reason": place.meeting.no_record_reason}
    return MeetingActions(
        start=_action(call, Scope.MEETINGS_RUN, "" if can_begin else "meeting-not-planned"),
        end=_action(call, Scope.MEETINGS_RUN, "" if running else "meeting-not-running"),
        edit=_action(call, Scope.MEETINGS_PLAN, "" if planned else "meeting-not-planned"),
        cancel=_action(call, Scope.MEETINGS_PLAN, "" if planned else "meeting-not-planned"),
        watch=_action(call, Scope.LIVE_WATCH, watch),
        download=_action(call, Scope.RECORDINGS_DOWNLOAD, nothing, params),
    )


def _action(call: Call, scope: Scope, trouble: str, params: dict[str, str] | None = None) -> Action:
    if not call.principal.may(scope):
        return Action(allowed=False, reason=call.catalog.notice("forbidden", {"scope": scope.value}))
    if trouble:
        return Action(allowed=False, reason=call.catalog.notice(trouble, params))
    return Action(allowed=True)


async def recorded_stretches(call: Call, meeting_id: str) -> list[Stretch]:
    """What can be played of a meeting, in order."""
    try:
        recorded = await call.services.playback.meetings.load(meeting_id)
    except NothingRecordedError:
        return []
    return joined(Stretch(item.facts.start_utc_ns, item.facts.end_utc_ns) for item in recorded.segments)
