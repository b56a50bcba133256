"""From the register of cameras to what the supervisor connects to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import structlog

from media.stream import Quality
from media.tasks import Failures, kept_running
from storage.errors import SecretError
from storage.records import Camera
from storage.secrets import SecretBox
from streaming.addresses import AddressGuard, parse_rtsp_url, split_credentials
from streaming.cameras import CameraSupervisor
from streaming.errors import AddressUnresolvedError
from streaming.pushed_session import PUSHED_URL
from streaming.secret import Secret
from streaming.source import CameraSource, TlsTrust, Transport
from web.county import County, CountyPicture

log = structlog.get_logger("web.cameras")


@dataclass(frozen=True, slots=True)
class Sources:
    """What to connect to. ``unreadable`` are cameras whose stored password no key opens."""

    sources: tuple[CameraSource, ...] = ()
    unreadable: frozenset[str] = field(default_factory=frozenset)


def source_of(camera: Camera, secrets: SecretBox, quality: Quality = Quality.MAIN) -> CameraSource:
    """Where the camera's main stream comes from, or its sub stream, which is read on demand. Raises SecretError."""
    password = secrets.open(camera.password_encrypted, camera.id) if camera.password_encrypted else ""
    return CameraSource(
        camera_id=camera.id,
        url=camera.sub_url if quality is Quality.SUB else camera.url,
        username=camera.username,
        password=Secret(password),
        transport=Transport(camera.transport.value),
        tls_trust=TlsTrust(camera.tls_trust.value),
        tls_pin=camera.tls_pin,
        quality=quality,
        on_demand=quality is Quality.SUB,
    )


def sources_of(picture: CountyPicture, secrets: SecretBox) -> Sources:
    """The main streams of all enabled cameras, and the sub streams of those that have one."""
    sources: list[CameraSource] = []
    unreadable: set[str] = set()
    for place in picture.cameras.values():
        if not place.camera.enabled:
            continue
        try:
            sources.append(source_of(place.camera, secrets))
            if place.camera.sub_url:
                sources.append(source_of(place.camera, secrets, Quality.SUB))
        except SecretError:
            unreadable.add(place.camera.id)
    return Sources(tuple(sources), frozenset(unreadable))


@dataclass(frozen=True, slots=True)
class PastedAddress:
    """An address as a person pasted it, taken apart."""

    url: str
    username: str
    password: Secret | None


NO_ADDRESS = PastedAddress("", "", None)
"""What stands for a stream that a camera does not have."""


class WantedCameras:
    """What the supervisor was last told to connect to. Owned by the task that tells it; others read."""

    def __init__(self) -> None:
        self.now = Sources()

    def change(self, sources: Sources) -> None:
        """From now on these."""
        # All in one line: where the key file is lost, that is every camera of the county.
        if unreadable := sorted(sources.unreadable - self.now.unreadable):
            log.warning("passwords of cameras unreadable", count=len(unreadable), first=unreadable[0])
        self.now = sources

    def is_unreadable(self, camera_id: str) -> bool:
        """Whether no key opens the camera's stored password."""
        return camera_id in self.now.unreadable


class Addresses:
    """Judges addresses before they are stored."""

    def __init__(self, guard: AddressGuard) -> None:
        self.guard = guard

    async def check(self, address: str) -> PastedAddress:
        """Take an address apart and see whether it may be connected to. Raises UrlInvalidError, AddressRefusedError.

        A name that does not resolve now is let through: the network of the camera may come later.
        """
        if address == PUSHED_URL:
            return PastedAddress(PUSHED_URL, "", None)
        text, credentials = split_credentials(address)
        url = parse_rtsp_url(text)
        try:
            await self.guard.addresses(url.host, url.port)
        except AddressUnresolvedError:
            log.info("camera address does not resolve yet", host=url.host)
        if credentials is None:
            return PastedAddress(url.url, "", None)
        return PastedAddress(url.url, credentials.username, credentials.password)


@contextlib.asynccontextmanager
async def cameras_follow(
    county: County, supervisor: CameraSupervisor, secrets: SecretBox, wanted: WantedCameras, failures: Failures
) -> AsyncIterator[None]:
    """Keep the supervisor at what the register says, one change after the other."""
    changed = asyncio.Event()

    def notice(_: CountyPicture) -> None:
        changed.set()

    async def apply() -> None:
        wanted.change(sources_of(county.picture, secrets))
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
    async with kept_running("cameras follow the register", follow, failures):
        try:
            yield
        finally:
            county.on_change.remove(notice)
