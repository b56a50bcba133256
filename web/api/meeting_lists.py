"""Lists of meetings: what a list shows of many meetings, read in a handful of queries; the archive, page by page."""

from collections.abc import Collection
from datetime import UTC, datetime, time, timedelta

from storage.records import GapRecord, MeetingPlace
from storage.repositories import Repositories
from storage.repositories.meetings import ArchiveQuery as ArchiveRows
from web.access.scopes import Scope
from web.api import meeting_view
from web.api.meeting_view import RecordedFacts
from web.api.schemas.archive import ArchivePage, ArchiveQuery
from web.api.schemas.meetings import MeetingSummary
from web.call import Call
from web.operations import Operations

operations = Operations("meetings")

_MOST_WORDS = 5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


async def summaries(call: Call, repos: Repositories, places: Collection[MeetingPlace]) -> list[MeetingSummary]:
    """Meetings as a list shows them, in their order; four queries however many they are."""
    begun = [place.meeting.id for place in places if place.meeting.started_utc_ns is not None]
    if not begun:
        return [meeting_view.summary(call, place, RecordedFacts()) for place in places]
    recordings = await repos.recordings.of_meetings(begun)
    ids = [item.id for items in recordings.values() for item in items]
    totals = await repos.recordings.totals_of(ids)
    gaps: dict[str, list[GapRecord]] = {}
    for gap in await repos.gaps.of_recordings(ids):
        gaps.setdefault(gap.recording_id, []).append(gap)

    def facts(place: MeetingPlace) -> RecordedFacts:
        own = recordings.get(place.meeting.id, ())
        missing = tuple(gap for item in own for gap in gaps.get(item.id, ()))
        return RecordedFacts(own, tuple(totals[item.id] for item in own if item.id in totals), missing)

    return [meeting_view.summary(call, place, facts(place)) for place in places]


@operations.operation("GET", "/archive", scope=Scope.MEETINGS_READ)
async def search_archive(call: Call, query: ArchiveQuery) -> ArchivePage:
    """Search meetings back in time."""
    before, before_id = _tomorrow(call), ""
    if query.cursor:
        moment, _, before_id = query.cursor.partition("-")
        # A number from outside may be past the end of all calendars.
        before = min(before, _EPOCH + timedelta(microseconds=min(int(moment), 10**16)))
    wanted = ArchiveRows(
        before=before,
        before_id=before_id,
        organization_id=call.narrowed(query.organization_id),
        kind=query.kind,
        state=query.state,
        words=tuple(query.search.split()[:_MOST_WORDS]),
    )
    async with call.services.database.read() as repos:
        found = await repos.meetings.archive(wanted, query.limit + 1)
        shown = found[: query.limit]
        items = await summaries(call, repos, shown)
    following = None
    if len(found) > len(shown):
        last = shown[-1].meeting
        following = f"{(last.planned_start - _EPOCH) // _MICROSECOND}-{last.id}"
    return ArchivePage(time_zone=call.services.settings.zone.key, items=items, next=following)


def _tomorrow(call: Call) -> datetime:
    zone = call.services.settings.zone
    return datetime.combine(call.now().astimezone(zone).date() + timedelta(days=1), time(), zone).astimezone(UTC)
