"""Talking into a room over HTTP: ``/live/meetings/{meeting}/talk`` takes an official's voice (WHIP, RFC 9725),
``/live/meetings/{meeting}/voice`` gives it to the room and to all who watch (WHEP).

POST to ``talk`` asks for the floor: 201 with it, 409 (``talk-busy``, with who speaks) without. Who is refused stands in
the queue for as long as they ask again every few seconds; DELETE leaves it, or lets go of the floor.
"""

import contextlib
from collections.abc import Awaitable, Callable, Sequence

import structlog
from aiohttp import hdrs, web

from media.stream import Quality
from recorder.errors import RecorderError
from storage.errors import StorageError
from storage.records import MeetingPlace, OrganizationLevel, StoryEntry
from streaming.talk import Rank, Talker
from streaming.talk_rooms import talk_stream_id
from streaming.webrtc.errors import SessionGoneError
from streaming.webrtc.fragment import CONTENT_TYPE
from streaming.webrtc.peer import Peer
from web.access.audit import meeting_detail
from web.access.gate import meeting_inside
from web.access.identity import assume, authenticate, authenticate_room, check_same_site
from web.access.principal import Principal
from web.access.scopes import Scope
from web.errors import (
    ForbiddenError,
    NotFoundError,
    NotLoggedInError,
    OutsideAreaError,
    SupervisionRefusedError,
    WebError,
)
from web.live.context import LIVE
from web.live.presence import office_of
from web.live.rights import Watch, keep_watch, while_allowed
from web.live.rtc_http import SDP, body_text, created, options, patched, webrtc_of
from web.live.talk_desk import TALK, TalkDesk
from web.services import SERVICES

log = structlog.get_logger("web.talk")

_MEETING = r"/live/meetings/{meeting:[A-Za-z0-9_-]{1,64}}"
_ID = r"/{session:[A-Za-z0-9_-]{1,64}}"
_RANKS = {OrganizationLevel.COUNTY: Rank.COUNTY, OrganizationLevel.TOWN: Rank.TOWN}


_SPEAKERS = web.AppKey("voice_speakers", Watch)
_LISTENERS = web.AppKey("voice_listeners", Watch)


def _desk(request: web.Request) -> TalkDesk:
    desk = request.app.get(TALK)
    if desk is None:
        raise NotFoundError
    return desk


async def _talker(request: web.Request) -> tuple[Talker, MeetingPlace, Principal]:
    """Who may speak into this meeting's room. Raises the errors of access, RecordNotFoundError."""
    principal = await authenticate(request)
    if principal is None:
        raise NotLoggedInError
    if principal.by_cookie:
        check_same_site(request, principal)
    principal.demand(Scope.GUIDANCE_TALK)
    services = request.app[SERVICES]
    picture = services.county.picture
    place = await meeting_inside(services.database, picture, principal.area, request.match_info["meeting"])
    office = office_of(picture, principal.user)
    rank = _RANKS.get(office.level) if office is not None else None
    if office is None or rank is None:
        raise ForbiddenError(scope=Scope.GUIDANCE_TALK.value)
    if not place.camera.supervision_allowed:
        raise SupervisionRefusedError
    return Talker(principal.user.id, principal.user.display_name, office.name, rank), place, principal


async def _speak(request: web.Request) -> web.Response:
    webrtc, desk = webrtc_of(request), _desk(request)
    talker, place, principal = await _talker(request)
    text = await body_text(request, SDP)
    session = await desk.speak(place, talker, text)
    services = request.app[SERVICES]
    entry = services.audit.entry(
        principal.user,
        "guidance.talk",
        f"meeting/{place.meeting.id}",
        request.remote or "",
        detail=meeting_detail(place.meeting, place.organization.name),
    )
    spoken = desk.entry_for(place.meeting.id, talker)
    try:
        await services.recorder.record_guidance(place.meeting.id)
        async with services.database.transaction() as repos:
            await repos.audit.add(entry)
            if spoken is not None:
                await repos.talks.add(spoken)
            await repos.story.add(
                StoryEntry(
                    meeting_id=place.meeting.id,
                    at_utc_ns=services.clock.utc_ns(),
                    kind="guidance-spoken",
                    params={"name": talker.name, "user": talker.id, "office": talker.office},
                )
            )
    except (StorageError, RecorderError):
        # Nobody speaks off the record.
        with contextlib.suppress(SessionGoneError):
            await desk.whip.close(session.id)
        raise
    if spoken is not None:
        desk.on_record(spoken)
    watch = _watch(request, session.publisher.peer, _talker)
    request.app[_SPEAKERS].begin(session.id, talker.id, f"voice of {place.meeting.id}", watch)
    location = f"/live/meetings/{place.meeting.id}/talk/{session.id}"
    return created(webrtc, location, session.etag, session.answer)


async def _own_voice(request: web.Request) -> str:
    """The session named in the address, if it is the asker's. Raises SessionGoneError."""
    talker, place, _ = await _talker(request)
    session = _desk(request).whip.session(request.match_info["session"])
    if session.owner != talker.id or session.stream_id != talk_stream_id(place.meeting.id):
        raise SessionGoneError("no such session of this person")
    return session.id


async def _patch_voice(request: web.Request) -> web.Response:
    webrtc = webrtc_of(request)
    session_id = await _own_voice(request)
    text = await body_text(request, CONTENT_TYPE)
    session, fragment = _desk(request).whip.patch(session_id, text, request.headers.get(hdrs.IF_MATCH))
    return patched(webrtc, session.etag, fragment)


async def _hang_up(request: web.Request) -> web.Response:
    await _desk(request).whip.close(await _own_voice(request))
    return web.Response(status=200)


async def _let_go_of(request: web.Request) -> web.Response:
    talker, place, _ = await _talker(request)
    _desk(request).rooms.release(place.meeting.id, talker.id)
    return web.Response(status=204)


# Listening


async def _listener(request: web.Request) -> tuple[MeetingPlace, Principal]:
    """Who may hear what is said into this meeting's room: its own TV, and whoever may watch it live."""
    principal = await authenticate_room(request)
    if principal is None:
        raise NotLoggedInError
    if principal.by_cookie:
        check_same_site(request, principal)
    services = request.app[SERVICES]
    meeting_id = request.match_info["meeting"]
    if principal.device is not None:
        principal.demand(Scope.ROOM_LISTEN)
        async with services.database.read() as repos:
            place = await repos.meetings.place(meeting_id)
        if principal.device.site_id != place.site.id:
            raise OutsideAreaError
        return place, principal
    place = await meeting_inside(services.database, services.county.picture, principal.area, meeting_id)
    await request.app[LIVE].gate.watch_camera(request, place.camera.id)
    return place, principal


async def _listen(request: web.Request) -> web.Response:
    webrtc, desk = webrtc_of(request), _desk(request)
    place, principal = await _listener(request)
    text = await body_text(request, SDP)
    desk.open(place)
    session = await webrtc.whep.offer(talk_stream_id(place.meeting.id).camera, Quality.MAIN, text)
    watch = _watch(request, session.peer, _listener)
    request.app[_LISTENERS].begin(session.id, principal.user.id, f"voice {place.meeting.id}", watch)
    location = f"/live/meetings/{place.meeting.id}/voice/{session.id}"
    return created(webrtc, location, session.etag, session.answer)


async def _watch(request: web.Request, peer: Peer, check: Callable[[web.Request], Awaitable[object]]) -> None:
    """Who loses the right to speak or to listen does so no more."""

    async def allowed() -> None:
        assume(request, None)
        await check(request)

    try:
        await while_allowed(peer, allowed)
    except (WebError, StorageError) as error:
        log.info("voice: the right to it is gone", code=error.code)
    finally:
        await peer.close()


async def _own_ear(request: web.Request) -> str:
    """The session named in the address, if it is the asker's. Raises SessionGoneError."""
    _, principal = await _listener(request)
    return request.app[_LISTENERS].own(request.match_info["session"], principal.user.id)


async def _patch_ear(request: web.Request) -> web.Response:
    webrtc = webrtc_of(request)
    session_id = await _own_ear(request)
    text = await body_text(request, CONTENT_TYPE)
    session, fragment = webrtc.whep.patch(session_id, text, request.headers.get(hdrs.IF_MATCH))
    return patched(webrtc, session.etag, fragment)


async def _stop_listening(request: web.Request) -> web.Response:
    await webrtc_of(request).whep.close(await _own_ear(request))
    return web.Response(status=200)


def prepare(app: web.Application) -> None:
    """What the handlers keep in the application."""
    keep_watch(app, _SPEAKERS)
    keep_watch(app, _LISTENERS)


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this module."""
    talk, voice = f"{_MEETING}/talk", f"{_MEETING}/voice"
    return [
        web.post(talk, _speak),
        web.delete(talk, _let_go_of),
        web.options(talk, options),
        web.patch(talk + _ID, _patch_voice),
        web.delete(talk + _ID, _hang_up),
        web.options(talk + _ID, options),
        web.post(voice, _listen),
        web.options(voice, options),
        web.patch(voice + _ID, _patch_ear),
        web.delete(voice + _ID, _stop_listening),
        web.options(voice + _ID, options),
    ]
