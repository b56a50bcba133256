"""The log of what was done: who, what, to what, how it ended, from where. Written with the change it tells of."""

from collections.abc import Mapping
from datetime import UTC, datetime

from media.clock import Clock
from media.unit import NS_PER_S
from storage.records import AuditEntry, AuditOutcome, CameraPlace, Meeting, User


def camera_detail(place: CameraPlace) -> dict[str, str | int | float]:
    """What fills a sentence about a camera. Each village has one of the same name, so the village is named too."""
    return {"name": place.camera.name, "village": place.organization.name}


def meeting_detail(meeting: Meeting, village: str) -> dict[str, str | int | float]:
    """The same of a meeting, which by its title alone, or with none, could be any village's."""
    return {"name": meeting.title, "kind": meeting.kind.value, "village": village}


class Audit:
    """Makes entries; the caller adds them in the transaction of the change itself, so that neither is without the
    other."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def entry(
        self,
        user: User | None,
        action: str,
        subject: str,
        address: str,
        outcome: AuditOutcome = AuditOutcome.SUCCESS,
        username: str = "",
        detail: Mapping[str, str | int | float] | None = None,
    ) -> AuditEntry:
        """An entry. ``action`` is a code of the ``audit`` catalog, ``subject`` is ``kind/id``; ``detail`` fills the
        sentence's placeholders and never holds a secret. ``username`` is for a log-in by nobody known."""
        return AuditEntry(
            at=datetime.fromtimestamp(self._clock.utc_ns() / NS_PER_S, UTC),
            user_id=user.id if user else None,
            username=(user.username if user else username)[:100],
            action=action,
            subject=subject[:200],
            outcome=outcome,
            address=address[:64],
            detail=dict(detail or {}),
        )
