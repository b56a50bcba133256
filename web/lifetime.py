"""Everything that runs while the service runs, started in order and stopped in the reverse.

database → object store → county picture → cameras → recorder → live windows → RTSP server. So at the end players go
first, then the recorder closes what it has open while cameras still bring media, then the cameras are let go.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog
from aiohttp import web
from argon2 import PasswordHasher

from media.clock import Clock, SystemClock
from media.stream import StreamId
from media.tasks import Failures, kept_running
from recorder.export import Mp4Export
from recorder.playback import Playback
from recorder.service import RecorderService
from storage.database import Database
from storage.errors import DatabaseInUseError, DatabaseUnavailableError
from storage.objects import ObjectStore
from storage.open_store import open_store_of
from storage.revisions import bring_to_head
from storage.secrets import SecretBox, SecretKeys
from storage.sole_service import SoleService
from streaming.addresses import AddressGuard
from streaming.cameras import CameraSupervisor
from streaming.directory import StreamDirectory
from streaming.hls.windows import LiveWindows
from streaming.loudspeaker import Loudspeakers
from streaming.rtsp.server import RtspServer
from streaming.talk_rooms import TalkRooms
from web.access.audit import Audit
from web.access.devices import Devices, Pairings
from web.access.gate import SanhuiGate
from web.access.passwords import Passwords
from web.access.rtsp_gate import RtspGate, stream_of
from web.access.rtsp_recordings import RtspRecordings
from web.access.sessions import Sessions
from web.access.stream_access import StreamPasswords
from web.access.view_tokens import VIEW_TOKENS
from web.camera_pins import CameraPins
from web.camera_sources import Addresses, WantedCameras, cameras_follow
from web.config import Settings
from web.county import County, CountyPicture
from web.derived import (
    address_policy,
    data_folders,
    multicast_settings,
    recorder_settings,
    session_settings,
    store_settings,
    supervisor_settings,
    window_settings,
)
from web.live.context import LIVE, LiveContext
from web.live.events import live_events
from web.live.talk_desk import start_talk
from web.live.webrtc import WEBRTC, start_webrtc
from web.messages import Catalogs
from web.metrics import Metrics, Watched
from web.notices import Notices
from web.readiness import Readiness
from web.secret_keys import first_keys, read_keys
from web.services import SERVICES, Services
from web.stills import Stills, StillSettings
from web.store_watch import StoreWatch
from web.trends import Trends
from web.viewers import Viewers

log = structlog.get_logger("web.lifetime")

_DATABASE_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Seams:
    """What tests put in the place of the real thing."""

    clock: Clock = field(default_factory=SystemClock)
    hasher: PasswordHasher = field(default_factory=PasswordHasher)
    county_refresh_s: float = 30.0


def lifetime(settings: Settings, catalogs: Catalogs, seams: Seams) -> Callable[[web.Application], AsyncIterator[None]]:
    """The ``cleanup_ctx`` of the application."""

    async def run(app: web.Application) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            await _start(app, settings, catalogs, seams, stack)
            log.info("started", store=app[SERVICES].store.name, database=app[SERVICES].database.name)
            yield
            log.info("stopping")

    return run


async def _start(
    app: web.Application, settings: Settings, catalogs: Catalogs, seams: Seams, stack: contextlib.AsyncExitStack
) -> None:
    ground = await _lay_ground(settings, seams, stack)
    media = await _start_media(ground)
    threads = _start_threads(stack)
    players = await _start_players(ground, media, threads)
    trends, notices = await _start_watch(ground, media, players, catalogs)
    export = Mp4Export(players.playback, threads.media)
    app[LIVE] = LiveContext(players.windows, players.playback, SanhuiGate(ground.clock), export, settings.zone)
    webrtc = await start_webrtc(
        settings,
        ground.clock,
        ground.county,
        media.directory.stream,
        media.supervisor.pushed,
        threads.media,
        ground.failures,
        stack,
    )
    if webrtc is not None:
        app[WEBRTC] = webrtc
        app[VIEW_TOKENS] = webrtc.tokens
    passwords = Passwords(threads.passwords, seams.hasher)
    app[SERVICES] = Services(
        settings=settings,
        clock=ground.clock,
        catalogs=catalogs,
        database=ground.database,
        store=ground.store,
        secrets=ground.secrets,
        county=ground.county,
        supervisor=media.supervisor,
        directory=media.directory,
        wanted=media.wanted,
        addresses=Addresses(media.guard),
        recorder=media.recorder,
        playback=players.playback,
        passwords=passwords,
        sessions=Sessions(ground.database, passwords, ground.clock, session_settings(settings)),
        stream_passwords=players.stream_passwords,
        audit=players.audit,
        viewers=players.viewers,
        stills=Stills(
            media.directory.stream, threads.stills, ground.clock, StillSettings(max_age_s=settings.still_max_age_s)
        ),
        trends=trends,
        metrics=ground.metrics,
        notices=notices,
        failures=ground.failures,
        devices=Devices(ground.database, ground.county, ground.clock),
        pairings=Pairings(ground.clock),
        readiness=_readiness(ground, media.recorder),
        rtsp_port=lambda: players.rtsp.port if players.rtsp is not None else 0,
    )
    await stack.enter_async_context(live_events(app, ground.failures))
    if webrtc is not None:
        await start_talk(app, media.talk, webrtc, media.supervisor.source, ground.failures, stack)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What all else stands on. What is started on it goes on ``stack``."""

    settings: Settings
    clock: Clock
    stack: contextlib.AsyncExitStack
    sole: SoleService
    keys: SecretKeys
    secrets: SecretBox
    database: Database
    store: ObjectStore
    failures: Failures
    metrics: Metrics
    county: County


async def _lay_ground(settings: Settings, seams: Seams, stack: contextlib.AsyncExitStack) -> _Ground:
    # For its owner alone: hashes of passwords and pictures of people are in it.
    await asyncio.to_thread(settings.data_dir.mkdir, 0o700, parents=True, exist_ok=True)
    # A key file that cannot be used is told before the database is touched; one that is missing is a question for it.
    keys = await asyncio.to_thread(read_keys, settings.key_file)
    sole = SoleService(settings.database_address)
    await _once_there(lambda: stack.enter_async_context(sole))
    await _once_there(lambda: asyncio.to_thread(bring_to_head, settings.database_address))
    database = await stack.enter_async_context(Database(settings.database_address))
    keys = keys or await first_keys(settings.key_file, database)
    secrets = SecretBox(keys)
    store = await stack.enter_async_context(open_store_of(database, store_settings(settings)))
    failures = Failures(seams.clock)
    await stack.enter_async_context(kept_running("the only service", sole.keep, failures))
    metrics = Metrics()
    await stack.enter_async_context(metrics.measuring_delay(seams.clock, failures))
    county = County(database, seams.county_refresh_s)
    await stack.enter_async_context(county.running(failures))
    return _Ground(
        settings=settings,
        clock=seams.clock,
        stack=stack,
        sole=sole,
        keys=keys,
        secrets=secrets,
        database=database,
        store=store,
        failures=failures,
        metrics=metrics,
        county=county,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Media:
    """The parts through which media comes and stays."""

    guard: AddressGuard
    supervisor: CameraSupervisor
    wanted: WantedCameras
    directory: StreamDirectory
    talk: TalkRooms
    recorder: RecorderService


async def _start_media(ground: _Ground) -> _Media:
    settings, clock, stack = ground.settings, ground.clock, ground.stack
    guard = AddressGuard(address_policy(settings))
    supervisor = await stack.enter_async_context(
        CameraSupervisor(clock, guard, supervisor_settings(settings), ground.failures)
    )
    wanted = WantedCameras()
    await stack.enter_async_context(cameras_follow(ground.county, supervisor, ground.secrets, wanted, ground.failures))
    talk_threads = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="talk"))
    talk = await stack.enter_async_context(
        TalkRooms(clock, Loudspeakers(clock, guard, talk_threads), failures=ground.failures)
    )
    directory = StreamDirectory(supervisor.stream, talk.stream)
    recorder = await stack.enter_async_context(
        RecorderService(
            ground.database,
            ground.store,
            lambda camera_id: directory.stream(StreamId(camera_id)),
            settings.spool_path,
            clock,
            recorder_settings(settings),
            data_folders(settings),
        )
    )
    return _Media(guard=guard, supervisor=supervisor, wanted=wanted, directory=directory, talk=talk, recorder=recorder)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Threads:
    """Pools of threads, apart so that stills or a log-in never wait for an export."""

    media: ThreadPoolExecutor
    stills: ThreadPoolExecutor
    passwords: ThreadPoolExecutor


def _start_threads(stack: contextlib.AsyncExitStack) -> _Threads:
    return _Threads(
        media=stack.enter_context(ThreadPoolExecutor(3, thread_name_prefix="media")),
        stills=stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="stills")),
        passwords=stack.enter_context(ThreadPoolExecutor(2, thread_name_prefix="passwords")),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Players:
    """What players ask: live windows, what is recorded, the RTSP server; and who is on record as looking."""

    windows: LiveWindows
    playback: Playback
    audit: Audit
    viewers: Viewers
    stream_passwords: StreamPasswords
    rtsp: RtspServer | None


async def _start_players(ground: _Ground, media: _Media, threads: _Threads) -> _Players:
    clock, county, database, stack = ground.clock, ground.county, ground.database, ground.stack
    windows = await stack.enter_async_context(
        LiveWindows(media.directory.stream, clock, threads.media, window_settings(ground.settings), ground.failures)
    )
    stream_passwords = StreamPasswords(ground.keys.keys[ground.keys.current])
    audit = Audit(clock)
    playback = Playback(database, ground.store, media.recorder.spooled, threads.media)
    recordings = RtspRecordings(county, database, playback, audit, clock, threads.media)
    pins = CameraPins(media.supervisor, database, county, audit)
    await stack.enter_async_context(pins.following(ground.failures))
    viewers = Viewers(clock)
    gate = RtspGate(county, stream_passwords, audit, database, clock, recordings, viewers)
    return _Players(
        windows=windows,
        playback=playback,
        audit=audit,
        viewers=viewers,
        stream_passwords=stream_passwords,
        rtsp=await _start_rtsp(ground, media.directory, gate, recordings),
    )


async def _start_watch(ground: _Ground, media: _Media, players: _Players, catalogs: Catalogs) -> tuple[Trends, Notices]:
    """What tells the operator how it goes."""
    failures = ground.failures
    trends = Trends(lambda: {status.camera_id: status.bitrate_bps for status in media.supervisor.statuses()})
    await ground.stack.enter_async_context(trends.running(failures))
    store_watch = StoreWatch(ground.store)
    await ground.stack.enter_async_context(store_watch.running(failures))
    notices = Notices(
        (
            lambda: media.recorder.warnings,
            lambda: ("task-failed",) if failures.recent else (),
            lambda: ("second-service",) if ground.sole.taken else (),
            lambda: store_watch.codes,
        ),
        catalogs.of(None),
        ground.clock,
    )
    await ground.stack.enter_async_context(notices.running(failures))
    ground.metrics.watch(
        Watched(
            cameras=media.supervisor.statuses,
            reader_overflows=lambda camera_id: _overflows(media.directory, camera_id),
            recorder=lambda: media.recorder.metrics,
            viewers=lambda: sum(players.viewers.counts().values()),
            rtsp_overflows=lambda: players.rtsp.overflows if players.rtsp is not None else 0,
            notices=lambda: notices.codes,
        )
    )
    return trends, notices


def _readiness(ground: _Ground, recorder: RecorderService) -> Readiness:
    checks = {"database": ground.database.check, "store": ground.store.check}
    return Readiness(checks, lambda: recorder.warnings, ground.clock)


async def _once_there(step: Callable[[], Awaitable[object]]) -> None:
    """Wait a while for a database server that is starting too, or another service that ends. Raises DatabaseError."""
    deadline, wait_s = asyncio.get_running_loop().time() + _DATABASE_PATIENCE_S, 0.5
    while True:
        try:
            await step()
        except (DatabaseUnavailableError, DatabaseInUseError) as error:
            if asyncio.get_running_loop().time() + wait_s > deadline:
                raise
            log.warning("waiting for the database", code=error.code, seconds=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, 8.0)
        else:
            return


async def _start_rtsp(
    ground: _Ground, directory: StreamDirectory, gate: RtspGate, recordings: RtspRecordings
) -> RtspServer | None:
    settings, county, stack = ground.settings, ground.county, ground.stack
    if not settings.rtsp_enabled:
        return None
    await stack.enter_async_context(gate.recording_looks(ground.failures))
    server = await stack.enter_async_context(
        RtspServer(
            settings.rtsp_host,
            settings.rtsp_port,
            lambda path: directory.stream(stream_of(path)),
            gate,
            ground.clock,
            recordings=recordings,
            multicast=multicast_settings(settings),
            failures=ground.failures,
        )
    )

    def rights_changed(_: CountyPicture) -> None:
        server.check_access()

    county.on_change.append(rights_changed)
    stack.callback(county.on_change.remove, rights_changed)
    return server


def _overflows(directory: StreamDirectory, camera_id: str) -> int:
    stream = directory.stream(StreamId(camera_id))
    return stream.overflows if stream is not None else 0
