"""Valid records for tests, each with sensible fields; what matters to a test is given by name."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from storage.records import (
    Camera,
    GapRecord,
    MediaObject,
    Meeting,
    MeetingKind,
    Organization,
    OrganizationLevel,
    Recording,
    Role,
    Site,
    StoredSegment,
    TrackRange,
    User,
    new_id,
)
from storage.repositories import Repositories

NOON = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
NOON_NS = int(NOON.timestamp()) * 1_000_000_000
S = 1_000_000_000


def organization(name: str = "临河县委组织部", parent: Organization | None = None, **changes: Any) -> Organization:
    """A county, or a town or village below ``parent``."""
    level = OrganizationLevel.COUNTY
    if parent is not None:
        county = parent.level is OrganizationLevel.COUNTY
        level = OrganizationLevel.TOWN if county else OrganizationLevel.VILLAGE
    made = Organization(id=new_id(), parent_id=parent.id if parent else None, level=level, name=name)
    return replace(made, **changes)


def site(of: Organization, name: str = "党员活动室") -> Site:
    """A meeting room."""
    return Site(id=new_id(), organization_id=of.id, name=name, address="村委会二楼")


def camera(at: Site, name: str = "主席台", **changes: Any) -> Camera:
    """An enabled camera."""
    made = Camera(
        id=new_id(), site_id=at.id, name=name, url="rtsp://192.0.2.7:554/main", created_at=NOON, updated_at=NOON
    )
    return replace(made, **changes)


def meeting(of: Organization, at: Site, seen_by: Camera, **changes: Any) -> Meeting:
    """A members' meeting at noon."""
    made = Meeting(
        id=new_id(),
        organization_id=of.id,
        site_id=at.id,
        camera_id=seen_by.id,
        kind=MeetingKind.MEMBERS,
        title="第四季度支部党员大会",
        planned_start=NOON,
        created_at=NOON,
    )
    return replace(made, **changes)


def recording(of: Meeting, **changes: Any) -> Recording:
    """A recording that runs since noon."""
    made = Recording(id=new_id(), meeting_id=of.id, camera_id=of.camera_id, started_utc_ns=NOON_NS)
    return replace(made, **changes)


def segment(number: int) -> StoredSegment:
    """The ``number``-th segment of 4 s since noon, with video and sound."""
    video = TrackRange(
        track_id=1, offset=1000, size=900_000, dts=number * 360_000, duration=360_000, samples=100,
        sha256=digest(f"video {number}"),
    )  # fmt: skip
    sound = video._replace(
        track_id=2, offset=901_000, size=32_000, dts=number * 32_000, duration=32_000,
        sha256=digest(f"sound {number}"),
    )  # fmt: skip
    return StoredSegment(
        sequence=1_000_000 + number,
        start_utc_ns=NOON_NS + number * 4 * S,
        duration_ns=4 * S,
        discontinuity=number == 0,
        ranges=(video, sound),
        chain=digest(f"chain {number}"),
    )


def media_object(of: Recording, number: int, **changes: Any) -> MediaObject:
    """The ``number``-th object: seven segments, 28 s."""
    segments = tuple(segment(number * 7 + index) for index in range(7))
    made = MediaObject(
        recording_id=of.id,
        number=number,
        period=0,
        key=f"recordings/{of.id}/{number:06d}.mp4",
        size=7_000_000,
        sha256=digest(f"object {of.id} {number}"),
        start_utc_ns=segments[0].start_utc_ns,
        end_utc_ns=segments[-1].end_utc_ns,
        segments=segments,
        chain=segments[-1].chain,
    )
    return replace(made, **changes)


def gap(of: Recording, start_s: float, end_s: float | None, cause: str = "disconnected") -> GapRecord:
    """A gap, in seconds after noon; open if it has no end."""
    end = None if end_s is None else NOON_NS + int(end_s * S)
    return GapRecord(recording_id=of.id, start_utc_ns=NOON_NS + int(start_s * S), end_utc_ns=end, cause=cause)


def user(username: str = "wang", **changes: Any) -> User:
    """An official of the county."""
    made = User(
        id=new_id(),
        username=username,
        display_name="王干事",
        password_hash="$argon2id$v=19$...",
        role=Role.OFFICIAL,
        created_at=NOON,
        password_changed_at=NOON,
    )
    return replace(made, **changes)


def digest(text: str) -> str:
    """SHA-256 of a word."""
    return hashlib.sha256(text.encode()).hexdigest()


class SampleCounty:
    """One county, two towns, three villages; each village with a site and a camera."""

    def __init__(self) -> None:
        self.county = organization()
        self.towns = [organization(name, self.county, position=i) for i, name in enumerate(("东河镇", "西山镇"))]
        self.villages = [
            organization("柳树村党支部", self.towns[0], position=0),
            organization("石桥村党支部", self.towns[0], position=1),
            organization("杏花村党支部", self.towns[1], position=0),
        ]
        self.sites = [site(village) for village in self.villages]
        self.cameras = [camera(place) for place in self.sites]

    async def add_to(self, repos: Repositories) -> None:
        """Write all of it."""
        for node in (self.county, *self.towns, *self.villages):
            await repos.organizations.add(node)
        for place in self.sites:
            await repos.sites.add(place)
        for seen in self.cameras:
            await repos.cameras.add(seen)

    def meeting(self, village: int = 0, **changes: Any) -> Meeting:
        """A meeting of that village, not yet written."""
        return meeting(self.villages[village], self.sites[village], self.cameras[village], **changes)
