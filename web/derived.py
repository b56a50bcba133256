"""From the settings of the service to the small frozen settings of each part."""

from pathlib import Path
from urllib.parse import urlsplit

from media.segmenter import SegmenterSettings
from recorder.state import RecorderSettings, RecordingSettings, SpoolSettings, UploadSettings
from storage.objects import DirectoryStoreSettings, S3StoreSettings, StoreSettings
from streaming.addresses import AddressPolicy
from streaming.cameras import SupervisorSettings
from streaming.hls.window import WindowSettings
from streaming.rtsp.server_multicast import MulticastSettings
from web.access.sessions import SessionSettings
from web.config import Settings, StoreKind

GIB = 1024**3


def store_settings(settings: Settings) -> StoreSettings:
    """Where objects are kept."""
    if settings.store is StoreKind.DIRECTORY:
        return DirectoryStoreSettings(settings.store_dir or settings.data_dir / "objects")
    return S3StoreSettings(
        endpoint=settings.s3_endpoint,
        bucket=settings.s3_bucket,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        region=settings.s3_region,
        versioning=settings.s3_versioning,
        object_lock=settings.s3_object_lock,
        ca_file=settings.s3_ca,
    )


def address_policy(settings: Settings) -> AddressPolicy:
    """Where cameras may be. Our own servers' ports are shut, on whatever address of this machine they are."""
    own = {settings.http_port, settings.rtsp_port, settings.webrtc_port}
    for url in (settings.s3_endpoint, settings.database_url.get_secret_value()):
        own.add(_port(url))
    return AddressPolicy(settings.camera_allow_loopback, frozenset(own - {0}), tuple(settings.camera_refused_networks))


_DEFAULT_PORTS = {"http": 80, "https": 443, "postgresql": 5432}


def _port(url: str) -> int:
    """The port that a server's URL means, 0 for none."""
    try:
        parts = urlsplit(url)
        return parts.port or _DEFAULT_PORTS.get(parts.scheme.partition("+")[0], 0)
    except ValueError:
        return 0


def supervisor_settings(settings: Settings) -> SupervisorSettings:
    """How cameras are kept."""
    segmenter = SegmenterSettings(part_s=settings.part_ms / 1000, segment_s=settings.segment_s)
    return SupervisorSettings(segmenter=segmenter)


def window_settings(settings: Settings) -> WindowSettings:
    """How live windows are kept."""
    return WindowSettings(segments=settings.hls_segments, idle_s=settings.hls_idle_s, part_s=settings.part_ms / 1000)


def recorder_settings(settings: Settings) -> RecorderSettings:
    """How the recorder works."""
    return RecorderSettings(
        spool=SpoolSettings(
            max_bytes=int(settings.spool_max_gb * GIB),
            warn_share=settings.spool_warn_percent / 100,
            disk_warn_bytes=int(settings.disk_warn_gb * GIB),
        ),
        upload=UploadSettings(concurrency=settings.upload_concurrency),
        recording=RecordingSettings(object_s=settings.object_s),
        reconcile_s=settings.reconcile_s,
    )


def data_folders(settings: Settings) -> tuple[Path, ...]:
    """Folders whose disks fill up with what is recorded, beside the spool's."""
    store = store_settings(settings)
    return (settings.data_dir, store.path) if isinstance(store, DirectoryStoreSettings) else (settings.data_dir,)


def session_settings(settings: Settings) -> SessionSettings:
    """How sessions and log-ins are bounded."""
    return SessionSettings(
        idle_s=settings.session_idle_min * 60,
        max_s=settings.session_max_h * 3600,
        failures=settings.login_failures,
        lockout_first_s=settings.lockout_first_s,
        lockout_max_s=settings.lockout_max_s,
    )


def multicast_settings(settings: Settings) -> MulticastSettings | None:
    """Where the RTSP server sends packet streams for many; None where that is off."""
    if not settings.rtsp_multicast:
        return None
    return MulticastSettings(
        network=settings.rtsp_multicast,
        port=settings.rtsp_multicast_port,
        ttl=settings.rtsp_multicast_ttl,
        interface=settings.rtsp_multicast_interface,
    )
