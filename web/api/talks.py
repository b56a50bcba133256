"""What officials said into the room of a meeting: who, when, and where it is heard."""

from web.access.scopes import Scope
from web.api import present
from web.api.schemas.common import PersonRef
from web.api.schemas.guidance import TalkRecord, TalkTurn
from web.call import Call
from web.operations import Operations

operations = Operations("guidance")


@operations.operation("GET", "/meetings/{meeting_id}/talks", scope=Scope.MEETINGS_READ)
async def list_talks(call: Call, meeting_id: str) -> TalkRecord:
    """Who spoke into the room of a meeting, in order of time, and the sound of it."""
    await call.meeting(meeting_id)
    async with call.services.database.read() as repos:
        entries = await repos.talks.of_meeting(meeting_id)
        recording = await repos.recordings.guidance(meeting_id)
    plays = recording is not None and call.principal.may(Scope.RECORDINGS_PLAY)
    return TalkRecord(
        items=[
            TalkTurn(
                id=entry.id,
                person=PersonRef(id=entry.talker_id, name=entry.talker_name),
                office=entry.office_name,
                starts_at=present.at(entry.started_utc_ns),
                ends_at=present.at_or_none(entry.ended_utc_ns),
                reason=entry.reason,
            )
            for entry in entries
        ],
        track_url=f"/meetings/{meeting_id}/vod/guidance.m3u8" if plays else None,
    )
