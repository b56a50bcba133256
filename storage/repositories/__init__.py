"""Repositories: one per subject, all on the transaction that :class:`storage.database.Database` opens."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from storage.repositories.county import CameraRepository, OrganizationRepository, SiteRepository
from storage.repositories.gaps import GapRepository
from storage.repositories.guidance import (
    AttendanceRepository,
    GuidanceNoteRepository,
    RoomDeviceRepository,
    TalkRepository,
)
from storage.repositories.media_objects import MediaObjectRepository
from storage.repositories.meetings import MeetingRepository, StoryRepository
from storage.repositories.people import (
    AuditRepository,
    OneTimeTokenRepository,
    UserRepository,
    UserSessionRepository,
)
from storage.repositories.recordings import RecordingRepository
from storage.repositories.store import StoreMarkerRepository


@dataclass(frozen=True, slots=True, kw_only=True)
class Repositories:
    """Every repository, on one transaction."""

    organizations: OrganizationRepository
    sites: SiteRepository
    cameras: CameraRepository
    meetings: MeetingRepository
    story: StoryRepository
    recordings: RecordingRepository
    objects: MediaObjectRepository
    gaps: GapRepository
    users: UserRepository
    sessions: UserSessionRepository
    tokens: OneTimeTokenRepository
    audit: AuditRepository
    notes: GuidanceNoteRepository
    talks: TalkRepository
    attendance: AttendanceRepository
    devices: RoomDeviceRepository
    store_marker: StoreMarkerRepository

    @classmethod
    def on(cls, session: AsyncSession, database: str) -> "Repositories":
        """All of them on ``session``; ``database`` is the address that errors name."""
        return cls(
            organizations=OrganizationRepository(session, database),
            sites=SiteRepository(session, database),
            cameras=CameraRepository(session, database),
            meetings=MeetingRepository(session, database),
            story=StoryRepository(session, database),
            recordings=RecordingRepository(session, database),
            objects=MediaObjectRepository(session, database),
            gaps=GapRepository(session, database),
            users=UserRepository(session, database),
            sessions=UserSessionRepository(session, database),
            tokens=OneTimeTokenRepository(session, database),
            audit=AuditRepository(session, database),
            notes=GuidanceNoteRepository(session, database),
            talks=TalkRepository(session, database),
            attendance=AttendanceRepository(session, database),
            devices=RoomDeviceRepository(session, database),
            store_marker=StoreMarkerRepository(session, database),
        )


__all__ = [
    "AttendanceRepository",
    "AuditRepository",
    "CameraRepository",
    "GapRepository",
    "GuidanceNoteRepository",
    "MediaObjectRepository",
    "MeetingRepository",
    "OneTimeTokenRepository",
    "OrganizationRepository",
    "RecordingRepository",
    "Repositories",
    "RoomDeviceRepository",
    "SiteRepository",
    "StoreMarkerRepository",
    "StoryRepository",
    "TalkRepository",
    "UserRepository",
    "UserSessionRepository",
]
