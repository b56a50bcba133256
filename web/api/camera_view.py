"""A camera with its state as the API and the event socket show it."""

from collections.abc import Iterable

from storage.records import CameraPlace, Meeting
from streaming.addresses import redacted
from web.api import present
from web.api.schemas.cameras import (
    Camera,
    CameraCounts,
    CameraList,
    CameraNumbers,
    CameraRegistration,
    CameraState,
    CameraStatus,
)
from web.messages import Catalog
from web.services import Services

_NEEDS_PERSON = {CameraState.REFUSED, CameraState.UNSUPPORTED, CameraState.MISCONFIGURED}
_AWAY = {CameraState.OFFLINE, CameraState.SILENT}


def shown(services: Services, catalog: Catalog, place: CameraPlace, meeting: Meeting | None, host: str) -> Camera:
    """A camera. ``meeting`` runs before it; ``host`` is what the page calls this machine."""
    record = place.camera
    return Camera(
        id=record.id,
        name=record.name,
        site=present.site_ref(place.site),
        organization=present.organization_ref(place.organization),
        town=present.town_ref(services.county.picture, place.organization.id),
        address=redacted(record.url),
        sub_address=redacted(record.sub_url),
        username=record.username,
        has_password=bool(record.password_encrypted),
        transport=record.transport,
        tls_trust=record.tls_trust,
        tls_pin=record.tls_pin,
        enabled=record.enabled,
        registration=CameraRegistration(
            place_kind=record.place_kind,
            purpose=record.purpose,
            legal_basis=record.legal_basis,
            notice=record.notice,
            filing_number=record.filing_number,
            retention_days=record.retention_days,
            supervision_allowed=record.supervision_allowed,
        ),
        status=status(services, catalog, place, meeting),
        meeting=present.brief(meeting, catalog) if meeting else None,
        still_url=present.still_url(record.id),
        live_url=present.live_url(record.id),
        rtc_url=present.rtc_url(record.id),
        rtsp_url=present.rtsp_url(host or "localhost", services.rtsp_port(), record.id),
    )


def status(services: Services, catalog: Catalog, place: CameraPlace, meeting: Meeting | None) -> CameraStatus:
    """How a camera is right now."""
    camera_id = place.camera.id
    live = services.recorder.live_state(meeting.id) if meeting else None
    return present.camera_status(
        place,
        services.supervisor.status(camera_id),
        catalog,
        services.trends.of(camera_id),
        viewers=len(services.viewers.of_camera(camera_id)),
        recording=live is not None and any(not item.away for item in live.recordings),
        unreadable=services.wanted.is_unreadable(camera_id),
    )


def numbers(services: Services, catalog: Catalog, place: CameraPlace) -> CameraNumbers:
    """What counts up of a camera."""
    found = status(services, catalog, place, None)
    return CameraNumbers(
        id=place.camera.id,
        bitrate_bps=found.bitrate_bps,
        fps=found.video.fps if found.video is not None else None,
        packets_received=found.packets_received,
        packets_lost=found.packets_lost,
        loss_ratio=found.loss_ratio,
    )


def counts(cameras: Iterable[Camera]) -> CameraCounts:
    """How many are in which state."""
    states = [camera.status.state for camera in cameras]
    return CameraCounts(
        total=len(states),
        online=states.count(CameraState.ONLINE),
        connecting=states.count(CameraState.CONNECTING),
        offline=sum(state in _AWAY for state in states),
        needs_person=sum(state in _NEEDS_PERSON for state in states),
        disabled=states.count(CameraState.DISABLED),
    )


def listed(
    services: Services, catalog: Catalog, places: Iterable[CameraPlace], running: dict[str, Meeting], host: str
) -> CameraList:
    """Cameras in the order given; ``running`` are meetings by camera."""
    items = [shown(services, catalog, place, running.get(place.camera.id), host) for place in places]
    return CameraList(at=services.sessions.now(), items=items, counts=counts(items))
