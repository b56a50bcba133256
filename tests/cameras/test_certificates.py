"""Cameras behind TLS (``rtsps``): certificates that are signed, remembered, or another one all of a sudden."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from media.clock import SystemClock
from streaming.addresses import parse_rtsp_url
from streaming.errors import (
    CameraCertificateChangedError,
    CameraCertificateUntrustedError,
    CameraRedirectError,
    CameraTlsError,
    StreamingError,
    TransportRefusedError,
)
from streaming.rtsp.backchannel import Backchannel, BackchannelOptions
from streaming.source import CameraSource, TlsTrust, Transport
from tests.streaming.watching import GUARD, QUICK, playing, source, until
from tests.support.camera_on_the_wire import recorded
from tests.support.fake_camera import Behaviour, FakeCamera, fake_camera
from tests.support.gstreamer import gst_camera
from tests.support.tls import Certificate, TlsFront, make_certificate, tls_front


@contextlib.asynccontextmanager
async def camera_behind_tls(
    certificate: Certificate, behaviour: Behaviour | None = None
) -> AsyncIterator[tuple[FakeCamera, TlsFront, CameraSource]]:
    async with fake_camera(behaviour) as camera, tls_front(certificate, camera.port) as front:
        pinned = replace(source(f"rtsps://127.0.0.1:{front.port}/live"), tls_trust=TlsTrust.PIN)
        yield camera, front, pinned


async def failure(camera: CameraSource) -> StreamingError:
    with pytest.raises(StreamingError) as caught:
        async with playing(camera):
            pass
    return caught.value


async def test_the_first_certificate_is_remembered_and_another_refused(tmp_path: Path) -> None:
    first, second = make_certificate(tmp_path, "first"), make_certificate(tmp_path, "second")
    async with camera_behind_tls(first) as (camera, front, wanted):
        async with recorded(wanted) as recording:
            await until(lambda: recording.pictures() > 10)
            status = recording.cameras.status("hall")
            assert status is not None
            assert status.tls_pin == first.fingerprint
            # What the register learns is what the session has: nothing is connected anew.
            connections = camera.connections
            pinned = replace(wanted, tls_pin=first.fingerprint)
            await recording.cameras.apply([pinned])
            count = recording.pictures()
            await until(lambda: recording.pictures() > count + 10)
            assert camera.connections == connections
            front.show(second)
            await until(lambda: recording.problem == "camera-certificate-changed")
            status = recording.cameras.status("hall")
            assert status is not None
            assert status.problem is not None
            assert status.problem.params["fingerprint"] == second.fingerprint
            assert status.state == "misconfigured"
            told = len(camera.requests)
            # A person lets the old one go.
            await recording.cameras.apply([replace(pinned, tls_pin="")])
            recording.cameras.retry_now("hall")
            await until(lambda: recording.online)
            status = recording.cameras.status("hall")
            assert status is not None
            assert status.tls_pin == second.fingerprint
            # To the stranger nothing was said before that.
            assert camera.requests[told].method == "OPTIONS"


async def test_without_pinning_an_authority_has_to_have_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path)
    async with camera_behind_tls(certificate) as (camera, _, pinned):
        strict = replace(pinned, tls_trust=TlsTrust.VERIFY)
        error = await failure(strict)
        assert isinstance(error, CameraCertificateUntrustedError)
        assert camera.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
        async with playing(strict) as (_, seen, _):
            await until(lambda: len(seen.pictures) > 3)
        error = await failure(replace(pinned, tls_pin="0" * 64))
        assert isinstance(error, CameraCertificateChangedError)


async def test_media_never_leaves_tls(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    async with camera_behind_tls(certificate) as (_, _, wanted):
        async with playing(replace(wanted, transport=Transport.UDP)) as (client, seen, _):
            await until(lambda: len(seen.pictures) > 3)
            assert client.transport is Transport.TCP
    away = Behaviour(statuses={"DESCRIBE": 302}, location="rtsp://127.0.0.1:9/elsewhere")
    async with camera_behind_tls(certificate, away) as (_, _, wanted):
        error = await failure(wanted)
        assert isinstance(error, CameraRedirectError)
        assert error.params["reason"] == "insecure"


@pytest.mark.parametrize("refused", [frozenset[str](), frozenset({"tcp"})])
async def test_a_voice_never_leaves_tls(tmp_path: Path, refused: frozenset[str]) -> None:
    """Neither where the camera is set to UDP, nor where it takes nothing else for its loudspeaker."""
    behaviour = Behaviour(loudspeaker=("m=audio 0 RTP/AVP 8",), refuse=refused)
    async with camera_behind_tls(make_certificate(tmp_path), behaviour) as (camera, _, wanted):
        options = BackchannelOptions(with_media=False, transport=Transport.UDP)
        async with Backchannel(wanted, SystemClock(), GUARD, QUICK, options) as channel:
            if refused:
                with pytest.raises(TransportRefusedError):
                    await channel.open()
            else:
                await channel.open()
        asked = [request.headers.get("Transport") or "" for request in camera.asked("SETUP")]
        assert asked
        assert all("TCP" in transport for transport in asked)


async def test_a_plain_port_and_a_tls_port_are_told_apart(tmp_path: Path) -> None:
    answers = [b"RTSP/1.0 400 Bad Request\r\n\r\n", b""]

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(answers.pop())
        writer.close()

    while answers:
        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as plain:
            port = plain.sockets[0].getsockname()[1]
            assert isinstance(await failure(source(f"rtsps://127.0.0.1:{port}/live")), CameraTlsError)
    async with camera_behind_tls(make_certificate(tmp_path)) as (_, front, _):
        error = await failure(source(f"rtsp://127.0.0.1:{front.port}/live"))
        assert error.code in ("camera-not-rtsp", "camera-disconnected")
    assert parse_rtsp_url("rtsps://camera/live").port == 322
    assert parse_rtsp_url("rtsp://camera/live").port == 554


async def test_a_pinned_camera_is_not_followed_to_another_certificate(tmp_path: Path) -> None:
    """Neither the first time, when nothing is pinned yet, nor later: or it would be recorded once and then refused."""
    first, second = make_certificate(tmp_path, "first"), make_certificate(tmp_path, "second")
    moved = Behaviour(statuses={"DESCRIBE": 302})
    async with camera_behind_tls(first, moved) as (_, _, wanted), camera_behind_tls(second) as (there, front, _):
        moved.location = f"rtsps://127.0.0.1:{front.port}/live"
        for pin in ("", first.fingerprint):
            error = await failure(replace(wanted, tls_pin=pin))
            assert isinstance(error, CameraRedirectError)
            assert error.params["reason"] == "certificate"
        assert there.requests == []
        front.show(first)
        for pin in ("", first.fingerprint):
            async with playing(replace(wanted, tls_pin=pin)) as (client, seen, _):
                await until(lambda seen=seen: len(seen.pictures) > 3)  # type: ignore[misc]
                assert client.certificate == first.fingerprint


@pytest.mark.gstreamer
async def test_another_make_over_tls(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    async with gst_camera(auth="digest", certificate=certificate.path) as camera:
        wanted = source(camera.url("h264-pcma").replace("rtsp:", "rtsps:"), user="admin", password="secret")
        async with playing(replace(wanted, tls_trust=TlsTrust.PIN)) as (client, seen, _):
            await until(lambda: len(seen.pictures) > 25 and len(seen.sounds) > 10)
            assert client.certificate == certificate.fingerprint
