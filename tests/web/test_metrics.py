"""What Prometheus reads, and who may."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from media.stream import Quality
from recorder.state import RecorderMetrics
from streaming.camera_status import CameraState, CameraStatus
from tests.web.conftest import run, settings
from web.config import MetricsAccess
from web.metrics import Metrics, Watched, may_read_metrics


def _value(text: str, name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return float(sample.value)
    raise AssertionError(f"{name} {labels} is not there")


def test_cameras_and_recorder_are_told() -> None:
    recorder = RecorderMetrics(spool_bytes=7, upload_lag_s=1.5)
    recorder.gaps["disconnected"] = 2
    camera = CameraStatus(
        "cam-1", Quality.MAIN, CameraState.SILENT, 0, bitrate_bps=1000, packets=10, packets_lost=3, reconnects=4
    )
    metrics = Metrics()
    metrics.watch(
        Watched(
            cameras=lambda: [camera],
            reader_overflows=lambda camera_id: 5,
            recorder=lambda: recorder,
            viewers=lambda: 6,
            rtsp_overflows=lambda: 8,
            notices=lambda: ("second-service", "store-away"),
        )
    )
    text = metrics.text().decode()
    assert _value(text, "sanhui_camera_bitrate_bps", camera="cam-1", quality="main") == 1000
    assert _value(text, "sanhui_camera_packets_lost_total", camera="cam-1") == 3
    assert _value(text, "sanhui_camera_reconnects_total", camera="cam-1") == 4
    assert _value(text, "sanhui_camera_reader_overflows_total", camera="cam-1") == 5
    assert _value(text, "sanhui_camera_state", camera="cam-1", state="silent") == 1
    assert _value(text, "sanhui_camera_state", camera="cam-1", state="online") == 0
    assert _value(text, "sanhui_recorder_spool_bytes") == 7
    assert _value(text, "sanhui_recorder_upload_lag_seconds") == 1.5
    assert _value(text, "sanhui_recorder_gaps_total", cause="disconnected") == 2
    assert _value(text, "sanhui_notice", code="store-away") == 1
    assert _value(text, "sanhui_notice", code="second-service") == 1
    assert _value(text, "sanhui_viewers") == 6
    assert _value(text, "sanhui_rtsp_viewer_overflows_total") == 8
    assert _value(text, "process_resident_memory_bytes") > 0


async def test_the_recorders_figures_are_those_of_when_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run(settings(tmp_path, reconcile_s=60)) as service:
        monkeypatch.setattr(service.services.recorder._spool, "bytes", 12_345)  # noqa: SLF001
        text = await (await service.browser().client.get("/metrics")).text()
    assert _value(text, "sanhui_recorder_spool_bytes") == 12_345


async def test_what_the_desk_tells_the_operator_is_there_for_an_alarm_too(tmp_path: Path) -> None:
    async with run(settings(tmp_path)) as service:
        service.services.failures.note("a task", RuntimeError("broken"))
        text = await (await service.browser().client.get("/metrics")).text()
        assert service.services.notices.codes == ("task-failed",)
    assert _value(text, "sanhui_notice", code="task-failed") == 1
    assert _value(text, "sanhui_rtsp_viewer_overflows_total") == 0


def test_two_applications_in_one_process_do_not_share_figures() -> None:
    first, second = Metrics(), Metrics()
    first.loop_delay.observe(1)
    assert _value(second.text().decode(), "sanhui_event_loop_delay_seconds_count") == 0


@pytest.mark.parametrize(
    ("access", "address", "authorization", "allowed"),
    [
        (MetricsAccess.LOOPBACK, "127.0.0.1", "", True),
        (MetricsAccess.LOOPBACK, "::1", "", True),
        (MetricsAccess.LOOPBACK, "10.0.0.1", "Bearer good", False),
        (MetricsAccess.LOOPBACK, "unknown", "", False),
        (MetricsAccess.TOKEN, "10.0.0.1", "Bearer good", True),
        (MetricsAccess.TOKEN, "127.0.0.1", "Bearer bad", False),
        (MetricsAccess.TOKEN, "127.0.0.1", "", False),
        (MetricsAccess.OFF, "127.0.0.1", "Bearer good", False),
    ],
)
def test_who_may_read(access: MetricsAccess, address: str, authorization: str, allowed: bool) -> None:
    assert may_read_metrics(access, "good", address, authorization) is allowed


async def test_requests_are_counted_by_operation_and_never_by_path(tmp_path: Path) -> None:
    async with run(settings(tmp_path, metrics_access="token", metrics_token="good")) as service:
        client = service.browser().client
        await client.get("/api/v1/cameras/some-id-in-the-path")
        assert (await client.get("/metrics")).status == 403
        response = await client.get("/metrics", headers={"Authorization": "Bearer good"})
        text = await response.text()
        assert _value(text, "sanhui_http_request_seconds_count", operation="get_camera", status="401") == 1
        assert "some-id-in-the-path" not in text
