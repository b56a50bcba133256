"""What ``/metrics`` tells Prometheus: cameras, recorder, process, and how late the event loop is.

Camera and recorder figures are read when they are asked for; only the loop's delay is measured all the time.
"""

import asyncio
import hmac
import ipaddress
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Histogram, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from media.clock import Clock
from media.tasks import Failures, kept_running
from media.unit import NS_PER_S
from recorder.state import RecorderMetrics
from streaming.camera_status import CameraState, CameraStatus
from web.config import MetricsAccess

_TICK_S = 0.5
_DELAY_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Where figures are read when they are asked for. ``reader_overflows`` counts by camera how often a reader fell
    behind, ``rtsp_overflows`` how often a viewer over RTSP did; ``notices`` are the codes of what the desk tells the
    operator now."""

    cameras: Callable[[], Iterable[CameraStatus]]
    reader_overflows: Callable[[str], int]
    recorder: Callable[[], RecorderMetrics]
    viewers: Callable[[], int]
    rtsp_overflows: Callable[[], int]
    notices: Callable[[], Iterable[str]]


class Metrics:
    """A registry of this application, not of the process, so that tests can run two."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.loop_delay = Histogram(
            "sanhui_event_loop_delay_seconds",
            "How late the event loop ran a timer",
            buckets=_DELAY_BUCKETS,
            registry=self.registry,
        )
        self.requests = Histogram(
            "sanhui_http_request_seconds",
            "Time to answer, by operation and status",
            ["operation", "status"],
            buckets=(0.005, 0.025, 0.1, 0.5, 2.0, 10.0),
            registry=self.registry,
        )

    def watch(self, watched: Watched) -> None:
        """Report these from now on."""
        self.registry.register(_Collector(watched))

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def measuring_delay(self, clock: Clock, failures: Failures) -> AbstractAsyncContextManager[None]:
        """Measure the loop's delay for as long as the context is open."""
        return kept_running("loop delay", lambda: self._measure(clock), failures)

    async def _measure(self, clock: Clock) -> None:
        while True:
            before_ns = clock.monotonic_ns()
            await asyncio.sleep(_TICK_S)
            self.loop_delay.observe(max(0.0, (clock.monotonic_ns() - before_ns) / NS_PER_S - _TICK_S))


class _Collector:
    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    def collect(self) -> Iterable[Metric]:
        """All families, as prometheus_client asks for them."""
        watched = self._watched
        yield from self._of_cameras()
        yield from self._of_recorder()
        yield GaugeMetricFamily("sanhui_viewers", "People who watch a camera live", value=watched.viewers())
        yield CounterMetricFamily(
            "sanhui_rtsp_viewer_overflows",
            "Times a viewer over RTSP fell behind and was cut to a keyframe",
            value=watched.rtsp_overflows(),
        )
        notices = GaugeMetricFamily("sanhui_notice", "1 while the desk tells the operator so", labels=["code"])
        for code in watched.notices():
            notices.add_metric([code], 1.0)
        yield notices

    def _of_cameras(self) -> Iterable[Metric]:
        labels = ["camera", "quality"]
        state = GaugeMetricFamily("sanhui_camera_state", "1 for the state the camera is in", labels=[*labels, "state"])
        bitrate = GaugeMetricFamily("sanhui_camera_bitrate_bps", "Bits per second received", labels=labels)
        packets = CounterMetricFamily("sanhui_camera_packets", "RTP packets received", labels=labels)
        lost = CounterMetricFamily("sanhui_camera_packets_lost", "RTP packets lost", labels=labels)
        reconnects = CounterMetricFamily("sanhui_camera_reconnects", "Connections after the first", labels=labels)
        drops = CounterMetricFamily("sanhui_camera_reader_overflows", "Times a reader fell behind", labels=labels)
        for camera in self._watched.cameras():
            names = [camera.camera_id, camera.quality.value]
            for known in CameraState:
                state.add_metric([*names, known.value], 1.0 if camera.state is known else 0.0)
            bitrate.add_metric(names, camera.bitrate_bps)
            packets.add_metric(names, camera.packets)
            lost.add_metric(names, camera.packets_lost)
            reconnects.add_metric(names, camera.reconnects)
            drops.add_metric(names, self._watched.reader_overflows(camera.camera_id))
        return (state, bitrate, packets, lost, reconnects, drops)

    def _of_recorder(self) -> Iterable[Metric]:
        figures = self._watched.recorder()
        gauges = (
            ("recordings", "Recordings under way", figures.recordings),
            ("spool_bytes", "Bytes in the spool", figures.spool_bytes),
            ("spool_max_bytes", "Most that the spool may hold", figures.spool_max_bytes),
            ("upload_lag_seconds", "Age of the oldest media not yet in the object store", figures.upload_lag_s),
            ("upload_queue", "Objects that wait for the store", figures.upload_queue),
        )
        for name, text, value in gauges:
            yield GaugeMetricFamily(f"sanhui_recorder_{name}", text, value=value)
        counters = (
            ("segments", "Segments recorded", figures.segments),
            ("objects_stored", "Objects stored", figures.objects_stored),
            ("bytes_stored", "Bytes stored", figures.bytes_stored),
            ("upload_retries", "Uploads tried again", figures.upload_retries),
            ("parts_refused", "Parts that the spool had no room for", figures.parts_refused),
        )
        for name, text, count in counters:
            yield CounterMetricFamily(f"sanhui_recorder_{name}", text, value=count)
        gaps = CounterMetricFamily("sanhui_recorder_gaps", "Gaps by cause", labels=["cause"])
        for cause, count in sorted(figures.gaps.items()):
            gaps.add_metric([cause], count)
        yield gaps


def may_read_metrics(access: MetricsAccess, token: str, address: str, authorization: str) -> bool:
    """Whether a client at ``address`` that sends ``authorization`` may read ``/metrics``."""
    if access is MetricsAccess.TOKEN:
        return bool(token) and hmac.compare_digest(
            authorization.encode("utf-8", "surrogatepass"), f"Bearer {token}".encode()
        )
    if access is MetricsAccess.LOOPBACK:
        try:
            return ipaddress.ip_address(address).is_loopback
        except ValueError:
            return False
    return False
