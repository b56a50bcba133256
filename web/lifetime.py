"""Everything that runs while the service runs, started in order and stopped in the reverse.

database → object store → county picture → cameras → recorder → live windows → RTSP server. So at the end players go
first, then the recorder closes what it has open while cameras still bring media, then the cameras are let go.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog
from aiohttp import web
from argon2 import PasswordHasher

from media.clock import Clock, SystemClock
from media.stream import StreamId
from media.tasks import Failures, lasting
from recorder.export import Mp4Export
from recorder.playback import Playback
from recorder.service import RecorderService
from storage.database import Database
from storage.errors import DatabaseUnavailableError, StorageError
from storage.migrate import upgrade
from storage.objects import ObjectStore
from storage.open_store import open_store
from storage.secrets import SecretBox, SecretKeys
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
from web.camera_sources import Addresses, WantedCameras, sources_of
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
from web.metrics import Metrics
from web.notices import Notices
from web.services import SERVICES, Services
from web.stills import Stills, StillSettings
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
    clock = seams.clock
    await asyncio.to_thread(settings.data_dir.mkdir, parents=True, exist_ok=True)
    key_file = settings.secret_key_file or settings.data_dir / "secret.key"
    keys = await asyncio.to_thread(SecretKeys.load_or_create, key_file)
    secrets = SecretBox(keys)
    await _migrate(settings.database_address)
    database = await stack.enter_async_context(Database(settings.database_address))
    store = await stack.enter_async_context(open_store(store_settings(settings)))
    failures = Failures(clock)
    metrics = Metrics()
    await stack.enter_async_context(metrics.measuring_delay(clock, failures))
    county = County(database, seams.county_refresh_s)
    await stack.enter_async_context(county.running(failures))

    media = await _start_media(settings, clock, county, secrets, database, store, failures, stack)
    media_threads = stack.enter_context(ThreadPoolExecutor(3, thread_name_prefix="media"))
    still_threads = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="stills"))
    password_threads = stack.enter_context(ThreadPoolExecutor(2, thread_name_prefix="passwords"))
    windows = await stack.enter_async_context(
        LiveWindows(media.directory.stream, clock, media_threads, window_settings(settings))
    )
    passwords = Passwords(password_threads, seams.hasher)
    stream_passwords = StreamPasswords(keys.keys[keys.current])
    audit = Audit(clock)
    playback = Playback(database, store, media.recorder.spooled, media_threads)
    recordings = RtspRecordings(county, database, playback, audit, clock, media_threads)
    pins = CameraPins(media.supervisor, database, county, audit)
    await stack.enter_async_context(pins.following(failures))
    viewers = Viewers(clock)
    rtsp_gate = RtspGate(county, stream_passwords, audit, database, clock, recordings, viewers)
    rtsp_port = await _start_rtsp(settings, clock, rtsp_gate, recordings, county, media.directory, failures, stack)
    trends = Trends(lambda: {status.camera_id: status.bitrate_bps for status in media.supervisor.statuses()})
    await stack.enter_async_context(trends.running(failures))
    metrics.watch(
        media.supervisor.statuses,
        lambda camera_id: _overflows(media.directory, camera_id),
        media.recorder.metrics,
        lambda: sum(viewers.counts().values()),
    )
    notices = Notices(
        (lambda: media.recorder.warnings, lambda: ("task-failed",) if failures.recent else ()),
        catalogs.of(None),
        clock,
    )
    await stack.enter_async_context(notices.running(failures))
    export = Mp4Export(playback, media_threads)
    app[LIVE] = LiveContext(windows, playback, SanhuiGate(clock), export, settings.zone)
    webrtc = await start_webrtc(
        settings, clock, county, media.directory.stream, media.supervisor.pushed, media_threads, stack
    )
    if webrtc is not None:
        app[WEBRTC] = webrtc
        app[VIEW_TOKENS] = webrtc.tokens
    app[SERVICES] = Services(
        settings=settings,
        clock=clock,
        catalogs=catalogs,
        database=database,
        store=store,
        secrets=secrets,
        county=county,
        supervisor=media.supervisor,
        directory=media.directory,
        wanted=media.wanted,
        addresses=Addresses(media.guard),
        recorder=media.recorder,
        playback=playback,
        passwords=passwords,
        sessions=Sessions(database, passwords, clock, session_settings(settings)),
        stream_passwords=stream_passwords,
        audit=audit,
        viewers=viewers,
        stills=Stills(media.directory.stream, still_threads, clock, StillSettings(max_age_s=settings.still_max_age_s)),
        trends=trends,
        metrics=metrics,
        notices=notices,
        devices=Devices(database, county, clock),
        pairings=Pairings(clock),
        rtsp_port=rtsp_port,
    )
    await stack.enter_async_context(live_events(app, failures))
    if webrtc is not None:
        await start_talk(app, media.talk, webrtc, media.wanted.source, failures, stack)


@dataclass(frozen=True, slots=True)
class _Media:
    """The parts through which media comes and stays."""

    guard: AddressGuard
    supervisor: CameraSupervisor
    wanted: WantedCameras
    directory: StreamDirectory
    talk: TalkRooms
    recorder: RecorderService


async def _start_media(
    settings: Settings,
    clock: Clock,
    county: County,
    secrets: SecretBox,
    database: Database,
    store: ObjectStore,
    failures: Failures,
    stack: contextlib.AsyncExitStack,
) -> _Media:
    guard = AddressGuard(address_policy(settings))
    supervisor = await stack.enter_async_context(CameraSupervisor(clock, guard, supervisor_settings(settings)))
    wanted = WantedCameras()
    await stack.enter_async_context(_cameras_follow(county, supervisor, secrets, wanted, failures))
    talk_threads = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="talk"))
    talk = await stack.enter_async_context(TalkRooms(clock, Loudspeakers(clock, guard, talk_threads)))
    directory = StreamDirectory(supervisor.stream, talk.stream)
    recorder = await stack.enter_async_context(
        RecorderService(
            database,
            store,
            lambda camera_id: directory.stream(StreamId(camera_id)),
            settings.spool_path,
            clock,
            recorder_settings(settings),
            data_folders(settings),
        )
    )
    return _Media(guard, supervisor, wanted, directory, talk, recorder)


async def _migrate(url: str) -> None:
    """Bring the schema up to date; wait a while for a database server that is starting too. Raises DatabaseError."""
    deadline = asyncio.get_running_loop().time() + _DATABASE_PATIENCE_S
    wait_s = 0.5
    while True:
        try:
            await asyncio.to_thread(upgrade, url)
        except DatabaseUnavailableError as error:
            if asyncio.get_running_loop().time() + wait_s > deadline:
                raise
            log.warning("waiting for the database", code=error.code, seconds=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, 8.0)
        else:
            return


@contextlib.asynccontextmanager
async def _cameras_follow(
    county: County, supervisor: CameraSupervisor, secrets: SecretBox, wanted: WantedCameras, failures: Failures
) -> AsyncIterator[None]:
    """Keep the supervisor at what the register says, one change after the other."""
    changed = asyncio.Event()

    def notice(_: CountyPicture) -> None:
        changed.set()

    async def apply() -> None:
        wanted.now = sources_of(county.picture, secrets)
        await supervisor.apply(wanted.now.sources)

    async def follow() -> None:
        while True:
            await changed.wait()
            changed.clear()
            try:
                await apply()
            except Exception:
                changed.set()
                raise

    await apply()
    county.on_change.append(notice)
    task = asyncio.create_task(lasting("cameras follow the register", follow, failures), name="cameras follow")
    try:
        yield
    finally:
        county.on_change.remove(notice)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _start_rtsp(
    settings: Settings,
    clock: Clock,
    gate: RtspGate,
    recordings: RtspRecordings,
    county: County,
    directory: StreamDirectory,
    failures: Failures,
    stack: contextlib.AsyncExitStack,
) -> Callable[[], int]:
    if not settings.rtsp_enabled:
        return lambda: 0
    await stack.enter_async_context(gate.recording_looks(failures))
    server = await stack.enter_async_context(
        RtspServer(
            settings.rtsp_host,
            settings.rtsp_port,
            lambda path: directory.stream(stream_of(path)),
            gate,
            clock,
            recordings=recordings,
            multicast=multicast_settings(settings),
        )
    )

    def rights_changed(_: CountyPicture) -> None:
        server.check_access()

    county.on_change.append(rights_changed)
    stack.callback(county.on_change.remove, rights_changed)
    return lambda: server.port


def _overflows(directory: StreamDirectory, camera_id: str) -> int:
    stream = directory.stream(StreamId(camera_id))
    return stream.overflows if stream is not None else 0


async def not_ready(services: Services) -> dict[str, str]:
    """What keeps the service from its work: part → error code. Empty where all is well."""
    troubles: dict[str, str] = {}
    for part, check in (("database", services.database.check), ("store", services.store.check)):
        try:
            async with asyncio.timeout(5):
                await check()
        except StorageError as error:
            troubles[part] = error.code
        except TimeoutError:
            troubles[part] = "timeout"
    if "spool-full" in services.recorder.warnings:
        troubles["spool"] = "spool-full"
    return troubles
