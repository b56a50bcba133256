"""Certificates of cameras that are trusted on first use: what was met first is written into the register."""

from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import structlog

from media.tasks import Failures, kept_running
from storage.database import Database
from storage.errors import RecordNotFoundError
from storage.records import TlsTrust
from streaming.camera_status import CameraState, CameraStatus
from streaming.cameras import CameraSupervisor
from web.access.audit import Audit, camera_detail
from web.county import County

log = structlog.get_logger("web.cameras")


class CameraPins:
    """Follows the supervisor and keeps the register at what cameras have shown."""

    def __init__(self, supervisor: CameraSupervisor, database: Database, county: County, audit: Audit) -> None:
        self._supervisor = supervisor
        self._database = database
        self._county = county
        self._audit = audit

    def following(self, failures: Failures) -> AbstractAsyncContextManager[None]:
        """Write new certificates down for as long as the context is open."""
        return kept_running("camera certificates", self._follow, failures)

    async def _follow(self) -> None:
        async for status in self._supervisor.changes():
            place = self._county.picture.cameras.get(status.camera_id)
            # Online: what was met there has proven to be the camera, and is not one that has just been let go.
            online = status.state is CameraState.ONLINE
            if online and status.tls_pin and place is not None and place.camera.tls_pin != status.tls_pin:
                await self._remember(status)

    async def _remember(self, status: CameraStatus) -> None:
        async with self._database.transaction() as repos:
            try:
                camera = await repos.cameras.get(status.camera_id)
            except RecordNotFoundError:
                return
            if camera.tls_trust is not TlsTrust.PIN or camera.tls_pin:
                # Somebody has changed it meanwhile: the supervisor follows the register, not the other way round.
                return
            await repos.cameras.update(replace(camera, tls_pin=status.tls_pin))
            place = await repos.cameras.place(camera.id)
            detail = {**camera_detail(place), "fingerprint": status.tls_pin}
            await repos.audit.add(self._audit.entry(None, "camera.pin", f"camera/{camera.id}", "", detail=detail))
        log.info("camera certificate remembered", camera=camera.id, fingerprint=status.tls_pin)
        await self._county.refresh()
