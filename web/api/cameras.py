"""Cameras: register, state, probe, still pictures."""

import contextlib
from dataclasses import replace

from aiohttp import web

from media.unit import NS_PER_S
from storage.records import Camera as CameraRecord
from storage.records import CameraPlace, Meeting, TlsTrust, new_id
from streaming.addresses import HIDDEN, parse_rtsp_url, redacted
from streaming.errors import StreamingError
from streaming.probe import Outcome, probe
from streaming.secret import Secret
from streaming.source import CameraSource, Transport
from streaming.source import TlsTrust as SourceTrust
from web.access.audit import camera_detail
from web.access.scopes import Scope
from web.api import camera_view, present, probe_view
from web.api.schemas.cameras import (
    Camera,
    CameraDeleted,
    CameraInput,
    CameraList,
    CameraQuery,
    ProbeEvent,
    ProbeRequest,
)
from web.call import Call
from web.camera_sources import NO_ADDRESS, PastedAddress
from web.errors import BusyError, FieldsInvalidError, NotFoundError, SupervisionRefusedError, WrongField
from web.operations import Operations

operations = Operations("cameras")


@operations.operation("GET", "/cameras", scope=Scope.CAMERAS_READ)
async def list_cameras(call: Call, query: CameraQuery) -> CameraList:
    """All cameras with their state, in order of town, village and name."""
    area = call.narrowed(query.organization_id)
    running = await _running(call)
    cameras = [_shown(call, place, running) for place in call.picture.cameras_in(area)]
    wanted = query.search.lower()
    items = [
        camera
        for camera in cameras
        if (query.state is None or camera.status.state is query.state)
        and (not wanted or any(wanted in name.lower() for name in _names(camera)))
    ]
    return CameraList(at=call.now(), items=items, counts=camera_view.counts(cameras))


@operations.operation("POST", "/cameras", scope=Scope.CAMERAS_WRITE, status=201, errors=(409,))
async def create_camera(call: Call, body: CameraInput) -> Camera:
    """Add a camera. It is connected at once."""
    _check_site(call, body.site_id)
    now = call.now()
    blank = CameraRecord(id=new_id(), site_id=body.site_id, name=body.name, url="", created_at=now, updated_at=now)
    record = await _filled(call, blank, body)
    async with call.services.database.transaction() as repos:
        await repos.cameras.add(record)
        await repos.audit.add(call.entry("camera.create", f"camera/{record.id}", **_named(call, record)))
    return await _refreshed(call, record.id)


@operations.operation(
    "POST", "/cameras/probe", scope=Scope.CAMERAS_WRITE, media_type="application/x-ndjson", model=ProbeEvent
)
async def probe_camera(call: Call, body: ProbeRequest) -> web.StreamResponse:
    """Test a camera step by step. Each line of the answer is one event, sent as it happens."""
    source, named = await _probed(call, body)
    services = call.services
    subject = f"camera/{body.camera_id or ''}"
    async with services.database.transaction() as repos:
        await repos.audit.add(call.entry("camera.probe", subject, **named))
    response = web.StreamResponse(
        headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    await response.prepare(call.request)
    outcomes: dict[str, Outcome] = {}
    started_ns = services.clock.monotonic_ns()
    async with services.probes, contextlib.aclosing(probe(source, services.clock, services.addresses.guard)) as steps:
        async for step in steps:
            outcomes[step.stage.value] = step.outcome
            await response.write(probe_view.event(step, call.catalog).model_dump_json().encode() + b"\n")
    took_ms = (services.clock.monotonic_ns() - started_ns) / 1e6
    await response.write(probe_view.done(outcomes, round(took_ms)).model_dump_json().encode() + b"\n")
    await response.write_eof()
    return response


@operations.operation("GET", "/cameras/{camera_id}", scope=Scope.CAMERAS_READ)
async def get_camera(call: Call, camera_id: str) -> Camera:
    """One camera with its state."""
    place = call.camera(camera_id)
    return _shown(call, place, await _running(call))


@operations.operation("PUT", "/cameras/{camera_id}", scope=Scope.CAMERAS_WRITE, errors=(409,))
async def update_camera(call: Call, camera_id: str, body: CameraInput) -> Camera:
    """Change a camera."""
    place = call.camera(camera_id)
    _check_site(call, body.site_id)
    record = await _filled(call, replace(place.camera, updated_at=call.now()), body)
    async with call.services.database.transaction() as repos:
        await repos.cameras.update(record)
        await repos.audit.add(call.entry("camera.update", f"camera/{record.id}", **_named(call, record)))
    return await _refreshed(call, camera_id)


@operations.operation("DELETE", "/cameras/{camera_id}", scope=Scope.CAMERAS_WRITE, errors=(409,))
async def delete_camera(call: Call, camera_id: str) -> CameraDeleted:
    """Take a camera out of the register. One that has recorded meetings can only be switched off."""
    place = call.camera(camera_id)
    async with call.services.database.transaction() as repos:
        await repos.cameras.delete(camera_id)
        await repos.audit.add(call.entry("camera.delete", f"camera/{camera_id}", **camera_detail(place)))
    await call.services.county.refresh()
    return CameraDeleted(camera=present.camera_ref(place.camera))


@operations.operation("GET", "/cameras/{camera_id}/still.jpg", scope=Scope.LIVE_WATCH, media_type="image/jpeg")
async def get_still(call: Call, camera_id: str) -> web.StreamResponse:
    """A picture of the camera, at most 10 s old while it is online."""
    place = call.camera(camera_id)
    if not place.camera.supervision_allowed:
        raise SupervisionRefusedError
    still = await call.services.stills.get(camera_id)
    if still is None:
        raise NotFoundError
    age_s = (call.services.clock.utc_ns() - still.taken_utc_ns) / NS_PER_S
    left_s = max(1, int(call.services.settings.still_max_age_s - age_s))
    headers = {
        "Cache-Control": f"private, max-age={left_s}",
        "X-Picture-Taken": present.at(still.taken_utc_ns).isoformat(timespec="milliseconds"),
    }
    return web.Response(body=still.jpeg, content_type="image/jpeg", headers=headers)


async def _probed(call: Call, body: ProbeRequest) -> tuple[CameraSource, dict[str, str]]:
    """What to test, and what it is called in the log. Stored credentials go to the stored address alone, or they could
    be fished for with another."""
    services = call.services
    if services.probes.locked():
        raise BusyError(seconds=15)
    record = call.camera(body.camera_id).camera if body.camera_id is not None else None
    if body.address is None and record is None:
        raise FieldsInvalidError([WrongField("address", "camera-or-address", {})])
    stored = record.url if record is not None else ""
    pasted = await _pasted(call, "address", body.address if body.address is not None else stored, stored)
    username = body.username or pasted.username
    password = Secret(body.password.get_secret_value()) if body.password is not None else pasted.password
    if record is not None and password is None and pasted.url == record.url and username in ("", record.username):
        username = record.username
        password = Secret(services.secrets.open(record.password_encrypted, record.id))
    source = CameraSource(
        camera_id=record.id if record else "probe",
        url=pasted.url,
        username=username,
        password=password or Secret(""),
        transport=Transport(body.transport.value),
        tls_trust=SourceTrust((body.tls_trust or (record.tls_trust if record else TlsTrust.VERIFY)).value),
        tls_pin=record.tls_pin if record is not None and _same_host(pasted.url, record.url) else "",
    )
    return source, _named(call, record) if record else {"name": redacted(pasted.url)}


def _named(call: Call, record: CameraRecord) -> dict[str, str]:
    return {"name": record.name, "village": call.picture.village_of(call.picture.sites.get(record.site_id))}


async def _filled(call: Call, record: CameraRecord, body: CameraInput) -> CameraRecord:
    """``record`` with what the person entered. Raises FieldsInvalidError."""
    pasted = await _pasted(call, "address", body.address, record.url)
    sub = await _pasted(call, "sub_address", body.sub_address, record.sub_url) if body.sub_address else NO_ADDRESS
    # Whichever address of one camera a person pasted its log-in with, it is the camera's.
    beside = sub if _same_host(sub.url, pasted.url) else NO_ADDRESS
    username = body.username or pasted.username or beside.username
    if not username.isprintable():
        raise FieldsInvalidError([WrongField("username", "pattern", {})])
    typed = Secret(body.password.get_secret_value()) if body.password is not None else None
    password = next((item for item in (typed, pasted.password, beside.password) if item is not None), None)
    sealed = record.password_encrypted
    if password is not None:
        sealed = call.services.secrets.seal(password.reveal(), record.id)
    elif record.url and (pasted.url != record.url or not _known_sub(sub.url, record)):
        # A stored password never goes to an address it was not entered for.
        sealed = ""
    registration = body.registration
    return replace(
        record,
        name=body.name,
        site_id=body.site_id,
        url=pasted.url,
        sub_url=sub.url,
        username=username,
        password_encrypted=sealed,
        transport=body.transport,
        tls_trust=body.tls_trust,
        tls_pin=_kept_pin(record, pasted.url, body),
        enabled=body.enabled,
        place_kind=registration.place_kind,
        purpose=registration.purpose,
        legal_basis=registration.legal_basis,
        notice=registration.notice,
        filing_number=registration.filing_number,
        retention_days=registration.retention_days,
        supervision_allowed=registration.supervision_allowed,
    )


def _known_sub(sub_url: str, record: CameraRecord) -> bool:
    """Whether a sub stream is where the camera's password goes already."""
    if sub_url in ("", record.sub_url):
        return True
    return _same_host(sub_url, record.url)


def _same_host(url: str, other: str) -> bool:
    if not url.startswith("rtsp") or not other.startswith("rtsp"):
        return False
    first, second = parse_rtsp_url(url), parse_rtsp_url(other)
    return (first.host, first.port) == (second.host, second.port)


def _kept_pin(record: CameraRecord, url: str, body: CameraInput) -> str:
    """The certificate that is still the only one taken: that of the same camera, unless a person lets it go."""
    if body.tls_trust is not TlsTrust.PIN or body.forget_certificate or not _same_host(url, record.url):
        return ""
    return record.tls_pin


async def _pasted(call: Call, field: str, address: str, stored: str = "") -> PastedAddress:
    """An address as it was entered; as it is shown, it is the one ``stored``, with what is hidden there."""
    if stored and address == redacted(stored):
        address = stored
    elif f"={HIDDEN}" in address:
        raise FieldsInvalidError([WrongField(field, "password-hidden", {})])
    try:
        return await call.services.addresses.check(address)
    except StreamingError as error:
        raise FieldsInvalidError([WrongField(field, error.code, error.params)]) from error


def _check_site(call: Call, site_id: str) -> None:
    site = call.picture.sites.get(site_id)
    if site is None:
        raise FieldsInvalidError([WrongField("site_id", "not-there", {})])
    if not call.picture.within(call.principal.area, site.organization_id):
        raise FieldsInvalidError([WrongField("site_id", "outside-area", {})])


async def _refreshed(call: Call, camera_id: str) -> Camera:
    picture = await call.services.county.refresh()
    call.services.supervisor.retry_now(camera_id)
    return _shown(call, picture.cameras[camera_id], await _running(call))


async def _running(call: Call) -> dict[str, Meeting]:
    async with call.services.database.read() as repos:
        return {item.camera.id: item.meeting for item in await repos.meetings.running(call.principal.area)}


def _names(camera: Camera) -> tuple[str, ...]:
    town = camera.town.name if camera.town else ""
    return (camera.name, camera.site.name, camera.organization.name, town, camera.address)


def _shown(call: Call, place: CameraPlace, running: dict[str, Meeting]) -> Camera:
    host = call.request.url.host or ""
    return camera_view.shown(call.services, call.catalog, place, running.get(place.camera.id), host)
