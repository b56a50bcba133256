"""Rooms: pairing a TV or box with a site, what its page shows, and its answers."""

import asyncio
import contextlib
import secrets
from dataclasses import replace

from aiohttp import web

from storage.errors import RecordNotFoundError
from storage.records import GuidanceNote, MeetingPlace, RoomDevice, new_id
from storage.repositories import Repositories
from web.access.audit import meeting_detail
from web.access.identity import room_token, set_room_cookie
from web.access.scopes import Scope
from web.access.sessions import csrf_token, token_hash
from web.api import live_view, present
from web.api.schemas.guidance import Note
from web.api.schemas.rooms import Device, DeviceInput, DeviceList, Pairing, PairingQuery, PairingState, Room
from web.call import Call
from web.errors import FieldsInvalidError, NoteRefusedError, NotFoundError, OutsideAreaError, WrongField
from web.live.events_board import BOARD
from web.live.events_socket import SOCKETS
from web.operations import Operations

operations = Operations("rooms")
MOST_DEVICES = 8
"""Devices of one site."""
_MAX_TOKEN = 200


@operations.operation("POST", "/room/pairing", scope=None, model=Pairing, errors=(503,))
async def start_pairing(call: Call) -> web.StreamResponse:
    """A code for this box to show.

    Sets the cookie that the box will be known by; until the code is entered at the desk, it opens nothing. A box that
    is paired already is told so.
    """
    token = room_token(call.request)
    if not token or len(token) > _MAX_TOKEN:
        token = secrets.token_urlsafe(32)
    elif await call.services.devices.find(token, by_cookie=True) is not None:
        return _answer(Pairing(state=PairingState.PAIRED, code=None, expires_at=None))
    elif call.services.pairings.of(token_hash(token)) is None:
        # Perhaps that of a device whose rights were taken away: it never gets any again.
        token = secrets.token_urlsafe(32)
    agent = call.request.headers.get("User-Agent", "").encode("utf-8", "replace").decode()
    waiting = call.services.pairings.start(token_hash(token), call.address, agent)
    response = _answer(Pairing(state=PairingState.WAITING, code=waiting.code, expires_at=waiting.expires_at))
    set_room_cookie(call.request, response, token)
    return response


@operations.operation("GET", "/room/pairing", scope=None)
async def await_pairing(call: Call, query: PairingQuery) -> Pairing:
    """How the pairing of this box stands; the answer is held until it changes, for up to ``wait_s``."""
    token = room_token(call.request)
    over = Pairing(state=PairingState.OVER, code=None, expires_at=None)
    if not token or len(token) > _MAX_TOKEN:
        return over
    waiting = call.services.pairings.of(token_hash(token))
    if waiting is not None and query.wait_s:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(query.wait_s):
                await waiting.changed.wait()
        waiting = call.services.pairings.of(token_hash(token))
    if waiting is not None:
        return Pairing(state=PairingState.WAITING, code=waiting.code, expires_at=waiting.expires_at)
    paired = await call.services.devices.find(token, by_cookie=True) is not None
    return Pairing(state=PairingState.PAIRED, code=None, expires_at=None) if paired else over


def _answer(pairing: Pairing) -> web.Response:
    body = pairing.model_dump_json().encode()
    return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-store"})


@operations.operation("GET", "/devices", scope=Scope.ROOMS_PAIR)
async def list_devices(call: Call) -> DeviceList:
    """The TVs and boxes that are paired, as far as the person's area goes."""
    async with call.services.database.read() as repos:
        devices = await repos.devices.active()
    return DeviceList(items=[_shown(call, device) for device in devices if _is_inside(call, device)])


@operations.operation("POST", "/sites/{site_id}/devices", scope=Scope.ROOMS_PAIR, status=201, errors=(429,))
async def pair_device(call: Call, site_id: str, body: DeviceInput) -> Device:
    """Enter the code that a box at this site shows. The box is the site's from then on. A code works once."""
    site = call.picture.sites.get(site_id)
    if site is None:
        raise NotFoundError
    call.inside(site.organization_id)
    services, user = call.services, call.principal.user
    waiting = services.pairings.find(body.code.replace(" ", ""), user.id)
    if waiting is None:
        raise FieldsInvalidError([WrongField("code", "code-wrong", {})])
    device = RoomDevice(
        id=new_id(),
        site_id=site_id,
        name=body.name or site.name,
        token_hash=waiting.token_hash,
        paired_by=user.id,
        paired_at=call.now(),
        address=waiting.address,
        user_agent=waiting.user_agent,
    )
    if not services.pairings.claim(waiting):
        raise FieldsInvalidError([WrongField("code", "code-wrong", {})])
    try:
        async with services.database.transaction() as repos:
            if await repos.devices.count(site_id) >= MOST_DEVICES:
                raise FieldsInvalidError([WrongField("code", "too-many-devices", {"limit": MOST_DEVICES})])
            await repos.devices.add(device)
            named = {"name": device.name, "site": site.name, "village": call.picture.village_of(site)}
            await repos.audit.add(call.entry("device.pair", f"device/{device.id}", **named))
    finally:
        # The box looks for itself, whether it went well or not.
        services.pairings.finish(waiting)
    return _shown(call, device)


@operations.operation("DELETE", "/devices/{device_id}", scope=Scope.ROOMS_PAIR, status=204)
async def revoke_device(call: Call, device_id: str) -> None:
    """Take a device's rights away. Its page shows a code again."""
    services = call.services
    async with services.database.transaction() as repos:
        device = await repos.devices.get(device_id)
        if not _is_inside(call, device):
            raise OutsideAreaError
        if not await repos.devices.revoke(device_id, call.now(), call.principal.user.id):
            raise RecordNotFoundError("revoked already", kind="room device", id=device_id)
        named = {"name": device.name, "village": call.picture.village_of(call.picture.sites.get(device.site_id))}
        await repos.audit.add(call.entry("device.revoke", f"device/{device_id}", **named))
    services.devices.forget(device_id)
    call.request.app[SOCKETS].recheck(device_id)


@operations.operation("GET", "/room", scope=Scope.ROOM_SEE, model=Room)
async def get_room(call: Call) -> web.StreamResponse:
    """What this room's page shows."""
    device = _device(call)
    facts = call.request.app[BOARD].room_facts(device.site_id)
    if facts is None:
        raise NotFoundError
    token = room_token(call.request)
    now = call.services.clock.utc_ns()
    room = live_view.room(facts, call.catalog, now, device=device.name, csrf_token=csrf_token(token))
    response = web.Response(
        body=room.model_dump_json().encode(), content_type="application/json", headers={"Cache-Control": "no-store"}
    )
    if call.principal.by_cookie:
        set_room_cookie(call.request, response, token)
    return response


@operations.operation("POST", "/room/notes/{note_id}/shown", scope=Scope.ROOM_ANSWER, errors=(409,))
async def show_note(call: Call, note_id: str) -> Note:
    """The room's page shows a note. Said again, it changes nothing."""
    return await _note(call, note_id, answered=False)


@operations.operation("POST", "/room/notes/{note_id}/answer", scope=Scope.ROOM_ANSWER, errors=(409,))
async def answer_note(call: Call, note_id: str) -> Note:
    """The room answers a note: 已收到. Said again, it changes nothing."""
    return await _note(call, note_id, answered=True)


async def _note(call: Call, note_id: str, *, answered: bool) -> Note:
    device, now = _device(call), call.services.clock.utc_ns()
    async with call.services.database.transaction() as repos:
        note = await repos.notes.get(note_id)
        place = await repos.meetings.place(note.meeting_id)
        if place.site.id != device.site_id:
            raise OutsideAreaError
        changed = await _write(call, repos, note, now, place, answered=answered)
    if changed != note:
        call.request.app[BOARD].note_changed(place, changed)
    return live_view.shown_note(changed, place.meeting.started_utc_ns)


async def _write(
    call: Call, repos: Repositories, note: GuidanceNote, now: int, place: MeetingPlace, *, answered: bool
) -> GuidanceNote:
    """The note as it is afterwards."""
    device = _device(call)
    if note.answered_utc_ns is not None or (note.shown_utc_ns is not None and not answered):
        return note
    if not await repos.notes.may_change(note.meeting_id):
        raise NoteRefusedError
    if note.shown_utc_ns is None and await repos.notes.shown(note.id, now, device.id):
        note = replace(note, shown_utc_ns=now, shown_by=device.id)
    if answered and await repos.notes.answered(note.id, now, device.id):
        note = replace(note, answered_utc_ns=now, answered_by=device.id)
        named = meeting_detail(place.meeting, place.organization.name)
        subject = f"meeting/{note.meeting_id}"
        await repos.audit.add(call.entry("note.answer", subject, text=note.text, note=note.id, **named))
    return note


def _device(call: Call) -> RoomDevice:
    device = call.principal.device
    if device is None:
        raise NotFoundError
    return device


def _is_inside(call: Call, device: RoomDevice) -> bool:
    site = call.picture.sites.get(device.site_id)
    return site is not None and call.picture.within(call.principal.area, site.organization_id)


def _shown(call: Call, device: RoomDevice) -> Device:
    site = call.picture.sites[device.site_id]
    return Device(
        id=device.id,
        name=device.name,
        site=present.site_ref(site),
        village=present.organization_ref(call.picture.organizations[site.organization_id]),
        paired_at=device.paired_at,
        paired_by=present.person_ref(call.picture, device.paired_by),
        last_seen_at=device.last_seen_at,
        online=call.request.app[SOCKETS].is_online(device.id),
        address=device.address,
        user_agent=device.user_agent,
    )
