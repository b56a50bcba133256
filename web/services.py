"""What handlers work with. Made and taken apart by :mod:`web.app` alone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

# Handlers and the OpenAPI generator need the names alone; the libraries behind them load with the application.
if TYPE_CHECKING:
    from collections.abc import Callable

    from media.clock import Clock
    from media.tasks import Failures
    from recorder.playback import Playback
    from recorder.service import RecorderService
    from storage.database import Database
    from storage.objects import ObjectStore
    from storage.secrets import SecretBox
    from streaming.cameras import CameraSupervisor
    from streaming.directory import StreamDirectory
    from web.access.audit import Audit
    from web.access.devices import Devices, Pairings
    from web.access.passwords import Passwords
    from web.access.sessions import Sessions
    from web.access.stream_access import StreamPasswords
    from web.camera_sources import Addresses, WantedCameras
    from web.config import Settings
    from web.county import County
    from web.messages import Catalogs
    from web.metrics import Metrics
    from web.notices import Notices
    from web.readiness import Readiness
    from web.stills import Stills
    from web.trends import Trends
    from web.viewers import Viewers


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything of one running service."""

    settings: Settings
    clock: Clock
    catalogs: Catalogs
    database: Database
    store: ObjectStore
    secrets: SecretBox
    county: County
    supervisor: CameraSupervisor
    directory: StreamDirectory
    wanted: WantedCameras
    addresses: Addresses
    recorder: RecorderService
    playback: Playback
    passwords: Passwords
    sessions: Sessions
    stream_passwords: StreamPasswords
    audit: Audit
    viewers: Viewers
    stills: Stills
    trends: Trends
    metrics: Metrics
    notices: Notices
    failures: Failures
    devices: Devices
    pairings: Pairings
    readiness: Readiness
    rtsp_port: Callable[[], int]
    probes: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(4))


SERVICES = web.AppKey("services", Services)
