"""From records to what the API shows: names, times, states. Pure functions."""

from collections.abc import Iterable
from datetime import UTC, datetime

from media.unit import NS_PER_S, AudioTrack, VideoTrack
from recorder.state import LiveState
from storage.records import Camera as CameraRecord
from storage.records import CameraPlace, CameraTransport, Organization, Site
from storage.records import Meeting as MeetingRecord
from storage.records import Recording as RecordingRecord
from storage.records import RecordingState as StoredState
from streaming.camera_status import CameraStatus as Status
from web.api.schemas.cameras import AudioFacts, CameraState, CameraStatus, VideoFacts
from web.api.schemas.common import CameraRef, Notice, OrganizationRef, PersonRef, SiteRef
from web.api.schemas.meetings import MeetingBrief, RecordingState
from web.county import CountyPicture
from web.messages import Catalog
from web.trends import STEP_S

PLAN = "plan"


def at(utc_ns: int) -> datetime:
    """Unix nanoseconds as an aware time."""
    return datetime.fromtimestamp(utc_ns / NS_PER_S, UTC)


def at_or_none(utc_ns: int | None) -> datetime | None:
    """The same, where there may be none."""
    return None if utc_ns is None else at(utc_ns)


def organization_ref(organization: Organization) -> OrganizationRef:
    """An organization by name."""
    return OrganizationRef(id=organization.id, name=organization.name, level=organization.level)


def town_ref(picture: CountyPicture, organization_id: str) -> OrganizationRef | None:
    """The town above an organization."""
    town = picture.town(organization_id)
    return organization_ref(town) if town else None


def site_ref(site: Site) -> SiteRef:
    """A site by name."""
    return SiteRef(id=site.id, name=site.name)


def camera_ref(camera: CameraRecord) -> CameraRef:
    """A camera by name."""
    return CameraRef(id=camera.id, name=camera.name)


def person_ref(picture: CountyPicture, user_id: str | None) -> PersonRef | None:
    """A person by name; None for the plan, the service itself, or somebody who is gone."""
    user = picture.users.get(user_id or "")
    return PersonRef(id=user.id, name=user.display_name) if user else None


def title_of(meeting: MeetingRecord, catalog: Catalog) -> str:
    """The meeting's title; without one, the name of its kind."""
    return meeting.title or catalog.text("kinds", meeting.kind.value)


def brief(meeting: MeetingRecord, catalog: Catalog) -> MeetingBrief:
    """A meeting in one line."""
    return MeetingBrief(
        id=meeting.id,
        kind=meeting.kind,
        title=title_of(meeting, catalog),
        state=meeting.state,
        planned_start=meeting.planned_start,
        planned_end=meeting.planned_end,
        started_at=at_or_none(meeting.started_utc_ns),
        ended_at=at_or_none(meeting.ended_utc_ns),
    )


def recording_state(recordings: Iterable[RecordingRecord], live: LiveState | None, *, running: bool) -> RecordingState:
    """How the recording of a meeting stands."""
    states = {recording.state for recording in recordings}
    if running:
        is_flowing = live is not None and any(not item.away and item.since_utc_ns for item in live.recordings)
        return RecordingState.RECORDING if is_flowing else RecordingState.WAITING
    if states & {StoredState.RECORDING, StoredState.FINISHING}:
        return RecordingState.FILING
    if StoredState.COMPLETE in states:
        return RecordingState.FILED
    return RecordingState.FAILED if StoredState.FAILED in states else RecordingState.NONE


def still_url(camera_id: str) -> str:
    """Address of a camera's still picture."""
    return f"/api/v1/cameras/{camera_id}/still.jpg"


def rtc_url(camera_id: str) -> str:
    """WHEP address of a camera's live picture."""
    return f"/live/{camera_id}/whep"


def send_url(camera_id: str) -> str:
    """WHIP address under which a room sends its own picture."""
    return f"/live/{camera_id}/whip"


def talk_url(meeting_id: str) -> str:
    """WHIP address for a voice into a meeting's room."""
    return f"/live/meetings/{meeting_id}/talk"


def voice_url(meeting_id: str) -> str:
    """WHEP address of the voice of whoever speaks into a meeting's room."""
    return f"/live/meetings/{meeting_id}/voice"


def live_url(camera_id: str) -> str:
    """Address of a camera's live playlist."""
    return f"/live/{camera_id}/index.m3u8"


def live_ts_url(camera_id: str) -> str:
    """Address of a camera's live playlist for old players."""
    return f"/live/{camera_id}/ts.m3u8"


def rtsp_url(host: str, port: int, camera_id: str) -> str:
    """Address of a camera at our RTSP server; empty where there is none."""
    literal = f"[{host}]" if ":" in host else host
    return f"rtsp://{literal}:{port}/live/{camera_id}" if port else ""


def camera_state(place: CameraPlace, status: Status | None) -> CameraState:
    """The state a camera is in."""
    if not place.camera.enabled:
        return CameraState.DISABLED
    return CameraState(status.state.value) if status is not None else CameraState.CONNECTING


def camera_problem(place: CameraPlace, status: Status | None, catalog: Catalog, *, unreadable: bool) -> Notice | None:
    """What is wrong with a camera, as a sentence."""
    if not place.camera.enabled:
        return None
    if unreadable:
        return catalog.notice("secret-unreadable")
    if status is None or status.problem is None:
        return None
    return catalog.notice(status.problem.code, status.problem.params)


def video_facts(status: Status) -> VideoFacts | None:
    """What the picture is; None without one."""
    track = next((track for track in status.tracks if isinstance(track, VideoTrack)), None)
    if track is None:
        return None
    fps = round(status.fps, 1) if status.fps else None
    return VideoFacts(codec=track.codec.value, width=track.width, height=track.height, fps=fps, gop_s=None)


def audio_facts(status: Status) -> AudioFacts | None:
    """What the sound is; None without one."""
    track = next((track for track in status.tracks if isinstance(track, AudioTrack)), None)
    if track is None:
        return None
    return AudioFacts(codec=track.codec.value, sample_rate_hz=track.clock_rate, channels=track.channels)


def camera_status(
    place: CameraPlace,
    status: Status | None,
    catalog: Catalog,
    history: list[int],
    *,
    viewers: int,
    recording: bool,
    unreadable: bool,
) -> CameraStatus:
    """How a camera is right now."""
    state = camera_state(place, status)
    problem = camera_problem(place, status, catalog, unreadable=unreadable)
    if status is None:
        return CameraStatus(
            state=state,
            since=None,
            problem=problem,
            advice=None,
            transport=None,
            video=None,
            audio=None,
            has_picture=None,
            bitrate_bps=0,
            bitrate_history_bps=history,
            bitrate_step_s=STEP_S,
            packets_received=0,
            packets_lost=0,
            loss_ratio=0.0,
            reconnects=0,
            clock_offset_ms=None,
            last_picture_at=None,
            viewers=0,
            recording=False,
        )
    expected = status.packets + status.packets_lost
    return CameraStatus(
        state=state,
        since=at(status.since_utc_ns),
        problem=problem,
        advice=catalog.notice(status.advice.code, status.advice.params, "advice") if status.advice else None,
        transport=CameraTransport(status.transport.value) if status.transport else None,
        video=video_facts(status),
        audio=audio_facts(status),
        has_picture=not status.picture_missing if state is CameraState.ONLINE else None,
        bitrate_bps=status.bitrate_bps,
        bitrate_history_bps=history,
        bitrate_step_s=STEP_S,
        packets_received=status.packets,
        packets_lost=status.packets_lost,
        loss_ratio=round(status.packets_lost / expected, 6) if expected else 0.0,
        reconnects=status.reconnects,
        clock_offset_ms=None if status.clock_offset_ns is None else round(status.clock_offset_ns / 1e6, 1),
        last_picture_at=at_or_none(status.last_keyframe_utc_ns),
        viewers=viewers,
        recording=recording,
    )
