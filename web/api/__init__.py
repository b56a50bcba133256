"""The JSON API under ``/api/v1``: one module of handlers per subject, each declaring its operations."""

from web.operations import Operation


def all_operations() -> tuple[Operation, ...]:
    """Every operation, in the order in which the description shows them."""
    from web.api import (
        cameras,
        events,
        meeting_lists,
        meetings,
        notes,
        now,
        organizations,
        rooms,
        session,
        talks,
        users,
        whep,
    )

    modules = (session, now, meetings, meeting_lists, notes, talks, events, rooms, cameras, organizations, users, whep)
    return tuple(operation for module in modules for operation in module.operations.all)
