"""Each bad camera ends in its own typed error, and its siblings do not notice."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from media.clock import SystemClock
from streaming.addresses import AddressGuard, AddressPolicy
from streaming.camera_session import ReconnectSettings
from streaming.cameras import CameraState, CameraSupervisor, SupervisorSettings
from streaming.rtsp.auth import ServerAuthenticator
from streaming.secret import Secret
from streaming.source import CameraSource
from tests.streaming.watching import QUICK, source, until
from tests.support.clocks import FakeClock
from tests.support.fake_camera import Behaviour, fake_camera, plain_server

JPEG = b"v=0\r\ns=-\r\nm=video 0 RTP/AVP 26\r\na=control:track1\r\n"
G726 = b"v=0\r\nm=audio 0 RTP/AVP 97\r\na=rtpmap:97 G726-16/8000\r\na=control:track2\r\n"
NO_ADDRESS = (
    b"v=0\r\ns=-\r\na=control:rtsp://cam]era/\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    b"a=control:/track1\r\n"
)
ONLY_METADATA = b"v=0\r\nm=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\n"
HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
PASSWORD = "p@ss:w/rd汉字"


@asynccontextmanager
async def beside_a_healthy_camera(bad: CameraSource) -> AsyncIterator[CameraSupervisor]:
    """A supervisor with ``bad`` and a healthy sibling; the sibling must have played on without a reconnect."""
    settings = SupervisorSettings(reconnect=ReconnectSettings(first_s=0.05, longest_s=0.2, slow_s=0.2), rtsp=QUICK)
    guard = AddressGuard(AddressPolicy(allow_loopback=True, own_ports=frozenset({9})))
    async with fake_camera() as healthy, CameraSupervisor(SystemClock(), guard, settings) as cameras:
        await cameras.apply([source(healthy.url, camera="healthy"), bad])

        def sibling() -> int:
            status = cameras.status("healthy")
            return status.packets if status is not None and status.state is CameraState.ONLINE else 0

        await until(lambda: sibling() > 0, "sibling online")
        yield cameras
        before = sibling()
        await until(lambda: sibling() > before + 20, "sibling goes on")
        status = cameras.status("healthy")
        assert status is not None
        assert status.reconnects == 0
        assert healthy.connections == 1


async def ends_in(bad: CameraSource, code: str, state: CameraState) -> dict[str, str | int | float]:
    """Wait until ``bad`` stands at ``code``; returns the parameters of the problem."""
    async with beside_a_healthy_camera(bad) as cameras:

        def problem_code() -> str | None:
            status = cameras.status(bad.camera_id)
            return status.problem.code if status is not None and status.problem is not None else None

        await until(lambda: problem_code() is not None, "a problem")
        status = cameras.status(bad.camera_id)
        assert status is not None
        assert status.problem is not None
        assert (status.problem.code, status.state) == (code, state)
        return status.problem.params


@pytest.mark.parametrize(
    ("url", "code", "state"),
    [
        ("http://127.0.0.1/", "url-invalid", CameraState.MISCONFIGURED),
        ("rtsp://", "url-invalid", CameraState.MISCONFIGURED),
        ("rtsp://169.254.169.254/latest/meta-data", "address-refused", CameraState.MISCONFIGURED),
        ("rtsp://[::ffff:169.254.169.254]/", "address-refused", CameraState.MISCONFIGURED),
        ("rtsp://127.0.0.1:9/", "address-refused", CameraState.MISCONFIGURED),
        ("rtsp://0.0.0.0/", "address-refused", CameraState.MISCONFIGURED),
        ("rtsp://camera.invalid/", "address-unresolved", CameraState.OFFLINE),
        ("rtsp://127.0.0.1:1/", "camera-unreachable", CameraState.OFFLINE),
    ],
)
async def test_wrong_addresses(url: str, code: str, state: CameraState) -> None:
    params = await ends_in(source(url, camera="bad"), code, state)
    assert PASSWORD not in str(params)


@pytest.mark.parametrize(
    ("greeting", "answer", "close", "looks_like", "state"),
    [
        (b"", HTTP, False, "http", CameraState.MISCONFIGURED),
        (b"SSH-2.0-OpenSSH_9.6\r\n", b"", False, "ssh", CameraState.MISCONFIGURED),
        (b"", b"\x15\x03\x01\x00\x02\x02\x46", False, "tls", CameraState.MISCONFIGURED),
        (b"", b"", False, "silent", CameraState.OFFLINE),
        (b"", b"", True, "closed", CameraState.OFFLINE),
        (b"220 smtp.example ready\r\n", b"", False, "unknown", CameraState.MISCONFIGURED),
    ],
)
async def test_ports_that_are_not_rtsp(
    greeting: bytes, answer: bytes, close: bool, looks_like: str, state: CameraState
) -> None:
    async with plain_server(greeting, answer=answer, close=close) as port:
        params = await ends_in(source(f"rtsp://127.0.0.1:{port}/live", camera="bad"), "camera-not-rtsp", state)
    assert params == {"host": "127.0.0.1", "port": port, "looks_like": looks_like}


async def test_a_header_of_ten_megabytes() -> None:
    flood = b"RTSP/1.0 200 OK\r\nX: " + b"a" * 10_000_000
    async with plain_server(b"", answer=flood) as port:
        bad = source(f"rtsp://127.0.0.1:{port}/live", camera="bad")
        assert await ends_in(bad, "rtsp-message-too-large", CameraState.OFFLINE) == {"what": "header", "limit": 65536}


@pytest.mark.parametrize(
    ("behaviour", "code", "state"),
    [
        (Behaviour(sdp=JPEG), "codec-unsupported", CameraState.UNSUPPORTED),
        (Behaviour(sdp=G726), "codec-unsupported", CameraState.UNSUPPORTED),
        (Behaviour(sdp=b"v=0\r\ns=-\r\n"), "camera-no-media", CameraState.OFFLINE),
        (Behaviour(sdp=ONLY_METADATA), "camera-no-media", CameraState.OFFLINE),
        (Behaviour(sdp=b"<html>"), "sdp-broken", CameraState.OFFLINE),
        (Behaviour(statuses={"DESCRIBE": 404}), "camera-path-not-found", CameraState.MISCONFIGURED),
        (Behaviour(statuses={"DESCRIBE": 503}), "camera-refused", CameraState.OFFLINE),
        (Behaviour(statuses={"SETUP": 453}), "camera-refused", CameraState.OFFLINE),
        (Behaviour(statuses={"PLAY": 500}), "camera-refused", CameraState.OFFLINE),
        (Behaviour(statuses={"DESCRIBE": 302}, location="rtsp://169.254.169.254/"), "address-refused", None),
        (Behaviour(statuses={"DESCRIBE": 302}, location="rtsp://127.0.0.1:9/"), "address-refused", None),
        (Behaviour(statuses={"DESCRIBE": 302}, location="http://127.0.0.1/"), "camera-redirect", CameraState.OFFLINE),
        (Behaviour(statuses={"DESCRIBE": 302}, location="rtsp://[here"), "camera-redirect", CameraState.OFFLINE),
        (Behaviour(sdp=NO_ADDRESS), "sdp-broken", CameraState.OFFLINE),
        (Behaviour(payload=lambda packet: b"\x17" * len(packet)), "camera-silent", CameraState.SILENT),
        (Behaviour(silent=True), "camera-silent", CameraState.SILENT),
    ],
)
async def test_cameras_that_cannot_be_used(behaviour: Behaviour, code: str, state: CameraState | None) -> None:
    async with fake_camera(behaviour) as camera:
        bad = source(camera.url, camera="bad", password=PASSWORD)
        params = await ends_in(bad, code, state or CameraState.MISCONFIGURED)
    assert PASSWORD not in str(params)


@pytest.mark.parametrize(
    ("user", "code"), [("admin", "camera-credentials-refused"), ("", "camera-credentials-missing")]
)
async def test_a_refused_log_in_leaks_nothing(user: str, code: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    authenticator = ServerAuthenticator("IPC", lambda name: Secret("another"), FakeClock())
    async with fake_camera(Behaviour(authenticator=authenticator)) as camera:
        bad = source(camera.url, user=user, password=PASSWORD, camera="bad")
        params = await ends_in(bad, code, CameraState.REFUSED)
    assert PASSWORD not in f"{params}{bad!r}{caplog.text}"
