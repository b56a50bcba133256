"""streaming/webrtc/dtls.py stands on private members of one version of aiortc. When this fails after an upgrade: read
the changed parts of aiortc/rtcdtlstransport.py, adapt dtls.py, then the version here."""

import asyncio
import gc
import importlib.metadata
import inspect
import weakref

import pylibsrtp
import pytest
from aiortc import RTCCertificate, RTCDtlsTransport, rtcdtlstransport

from streaming.webrtc.dtls import DtlsFailedError, DtlsSrtp, fingerprint_of


def test_the_version_is_the_one_that_was_read() -> None:
    assert importlib.metadata.version("aiortc") == "1.16.0"


def test_the_members_we_use_are_what_they_were() -> None:
    assert list(inspect.signature(RTCDtlsTransport.__init__).parameters) == ["self", "transport", "certificates"]
    set_role = vars(RTCDtlsTransport)["_set_role"]
    assert list(inspect.signature(set_role).parameters) == ["self", "role"]
    assert list(inspect.signature(RTCDtlsTransport.start).parameters) == ["self", "remoteParameters"]
    assert inspect.iscoroutinefunction(RTCDtlsTransport.start)
    assert inspect.iscoroutinefunction(RTCDtlsTransport.stop)
    assert isinstance(vars(RTCDtlsTransport)["state"], property)
    source = inspect.getsource(RTCDtlsTransport)
    for used in ("self.transport._recv()", "self.transport._send(", "self._srtp_profiles", 'self.emit("statechange")'):
        assert used in source, used
    # What it takes of its transport besides is the role, and only where ours is not set.
    assert source.count("self.transport.") == 6


async def test_a_new_transport_has_them() -> None:
    transport = RTCDtlsTransport(object(), [RTCCertificate.generateCertificate()])  # type: ignore[arg-type]
    assert transport.state == "new"
    members = vars(transport)
    assert members["_rx_srtp"] is None
    assert members["_tx_srtp"] is None
    assert rtcdtlstransport.SRTP_AEAD_AES_128_GCM in members["_srtp_profiles"]


@pytest.mark.parametrize("profile", ["SRTP_AEAD_AES_128_GCM", "SRTP_AES128_CM_SHA1_80"])
def test_libsrtp_has_the_profiles(profile: str) -> None:
    assert getattr(rtcdtlstransport, profile) in rtcdtlstransport.SRTP_PROFILES
    assert callable(pylibsrtp.Session.protect)


async def test_two_ends_agree_on_aes_gcm_and_pass_packets() -> None:
    ours, theirs = RTCCertificate.generateCertificate(), RTCCertificate.generateCertificate()
    ends: list[DtlsSrtp] = []
    closed: list[str] = []
    ends.append(
        DtlsSrtp(ours, [fingerprint_of(theirs)], "server", lambda data: ends[1].feed(data), lambda: closed.append("a"))
    )
    ends.append(
        DtlsSrtp(theirs, [fingerprint_of(ours)], "client", lambda data: ends[0].feed(data), lambda: closed.append("b"))
    )
    await asyncio.gather(*(end.handshake() for end in ends))
    packet = b"\x80\x60\x00\x01" + bytes(8) + b"payload"
    protected = ends[0].protect(packet)
    # AES-GCM adds a tag of 16 octets, SHA-1 one of 10.
    assert len(protected) == len(packet) + 16
    assert ends[1].unprotect(protected) == packet
    assert ends[1].unprotect(protected) is None
    assert ends[1].rejected == 1
    await ends[0].close()
    for _ in range(100):
        if closed:
            break
        await asyncio.sleep(0.01)
    assert closed == ["b"]
    await ends[1].close()


async def test_another_certificate_than_announced_is_refused() -> None:
    ours, theirs, other = (RTCCertificate.generateCertificate() for _ in range(3))
    ends: list[DtlsSrtp] = []
    ends.append(DtlsSrtp(ours, [fingerprint_of(other)], "server", lambda data: ends[1].feed(data), lambda: None))
    ends.append(DtlsSrtp(theirs, [fingerprint_of(ours)], "client", lambda data: ends[0].feed(data), lambda: None))
    results = await asyncio.gather(*(end.handshake(5) for end in ends), return_exceptions=True)
    assert isinstance(results[0], DtlsFailedError)
    assert not ends[0].connected
    for end in ends:
        await end.close()


async def test_a_handshake_that_stalls_ends() -> None:
    ours, theirs = RTCCertificate.generateCertificate(), RTCCertificate.generateCertificate()
    end = DtlsSrtp(ours, [fingerprint_of(theirs)], "server", lambda data: None, lambda: None)
    with pytest.raises(DtlsFailedError):
        await end.handshake(0.05)
    await end.close()


async def test_what_is_large_is_freed_as_an_association_ends() -> None:
    certificates = [RTCCertificate.generateCertificate() for _ in range(2)]
    prints = [[fingerprint_of(certificate)] for certificate in certificates]
    ends: list[DtlsSrtp] = []
    ends.append(DtlsSrtp(certificates[0], prints[1], "server", lambda data: ends[1].feed(data), lambda: None))
    ends.append(DtlsSrtp(certificates[1], prints[0], "client", lambda data: ends[0].feed(data), lambda: None))
    await asyncio.gather(*(end.handshake() for end in ends))
    gc.disable()
    try:
        session = weakref.ref(ends[0].keys[0])
        connection = weakref.ref(vars(vars(ends[0])["_transport"])["_ssl"])
        await ends[0].close()
        # Its task hears that it is cancelled.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert session() is None
        assert connection() is None
    finally:
        gc.enable()
        await ends[1].close()
