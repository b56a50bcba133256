"""The archive's pages and the lists of a day, over the API."""

from datetime import UTC, datetime, timedelta

from storage.records import Camera, GapRecord, Meeting, MeetingKind, MeetingState, Recording, RecordingState
from tests.support.rows import media_object
from tests.web.conftest import Service

NOW = datetime.now(UTC)


async def hold(county: Service, village: str, hours_ago: float, title: str) -> Meeting:
    """A meeting that was held and recorded."""
    start = NOW - timedelta(hours=hours_ago)
    start_ns = int(start.timestamp() * 1e9)
    side = village.removeprefix("village-")
    made = Meeting(
        id=f"m-{side}-{hours_ago:g}", organization_id=village, site_id=f"hall-{side}", camera_id=f"c-{side}",
        kind=MeetingKind.LECTURE, title=title, planned_start=start, state=MeetingState.ENDED,
        started_utc_ns=start_ns, ended_utc_ns=start_ns + 60_000_000_000, created_at=start,
    )  # fmt: skip
    row = Recording(
        id=f"r-{made.id}", meeting_id=made.id, camera_id=made.camera_id, state=RecordingState.COMPLETE,
        started_utc_ns=start_ns,
    )  # fmt: skip
    async with county.services.database.transaction() as repos:
        await repos.meetings.add(made)
        await repos.recordings.add(row)
        await repos.objects.add(media_object(row, 0))
        await repos.gaps.add(
            GapRecord(recording_id=row.id, start_utc_ns=0, end_utc_ns=3_000_000_000, cause="disconnected")
        )
    return made


async def test_the_archive_is_searched_page_by_page_inside_the_area(service: Service) -> None:
    async with service.services.database.transaction() as repos:
        for side in ("east", "west"):
            await repos.cameras.add(
                Camera(
                    id=f"c-{side}", site_id=f"hall-{side}", name="正面", url="rtsp://192.0.2.1/", enabled=False,
                    created_at=NOW, updated_at=NOW,
                )
            )  # fmt: skip
    for number in range(5):
        await hold(service, "village-east", 24 * number + 25, f"党课{number}")
    await hold(service, "village-west", 30, "党员大会")

    archivist = service.browser()
    await archivist.log_in("archivist")
    titles, cursor, pages = [], "", 0
    while True:
        page = await archivist.json("GET", f"/archive?limit=2&cursor={cursor}")
        titles += [item["title"] for item in page["items"]]
        pages += 1
        cursor = page["next"]
        if cursor is None:
            break
    assert titles == ["党课0", "党员大会", "党课1", "党课2", "党课3", "党课4"]
    assert pages == 3
    first = (await archivist.json("GET", "/archive?search=党课3"))["items"][0]
    assert first["recording"]["state"] == "filed"
    assert (first["recording"]["size_bytes"], first["recording"]["gap_count"]) == (7_000_000, 1)
    assert (await archivist.json("GET", "/archive?search=西村 大会"))["items"][0]["title"] == "党员大会"
    assert (await archivist.json("GET", "/archive?search=没有"))["items"] == []
    assert (await archivist.json("GET", "/archive?state=planned"))["items"] == []
    for bad in ("cursor=x", "limit=0", "limit=101", "cursor=1-"):
        assert (await archivist.call("GET", f"/archive?{bad}")).status == 422, bad
    assert (await archivist.json("GET", f"/archive?cursor={10**17}-z"))["items"][0]["title"] == "党课0"

    east = service.browser()
    await east.log_in("east")
    assert len((await east.json("GET", "/archive"))["items"]) == 5
    assert (await east.call("GET", "/archive?organization_id=village-west")).status == 403

    day = (NOW - timedelta(hours=49)).astimezone(service.services.settings.zone).date()
    listed = await archivist.json("GET", f"/meetings?day={day}")
    assert "党课1" in [item["title"] for item in listed["items"]]
    assert listed["items"][0]["recording"]["size_bytes"] == 7_000_000
    assert listed["previous_day"] < str(day) < listed["next_day"]
    month = await archivist.json("GET", f"/calendar?month={day:%Y-%m}")
    assert {entry["day"]: entry["ended"] for entry in month["days"]}[str(day)] >= 1
