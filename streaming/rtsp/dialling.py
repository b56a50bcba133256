"""Opening the connection to a camera: the address that was judged, and TLS where the URL says ``rtsps``.

Village cameras make their own certificates, which nobody has signed. Such a camera can be *pinned*: the certificate
seen at the first connection is remembered, and any other is refused from then on. What that first connection meets is
believed; who wants more compares the fingerprint with the one the camera shows.
"""

import asyncio
import errno
import hashlib
import ssl
from collections.abc import Callable

from streaming.addresses import AddressGuard, RtspUrl
from streaming.errors import (
    CameraCertificateChangedError,
    CameraCertificateUntrustedError,
    CameraTlsError,
    CameraUnreachableError,
)
from streaming.rtsp.connection import RtspConnection
from streaming.source import CameraSource, TlsTrust


async def dial(
    target: RtspUrl,
    source: CameraSource,
    guard: AddressGuard,
    make: Callable[[], RtspConnection],
    timeout_s: float,
) -> tuple[RtspConnection, str]:
    """The open connection, and the fingerprint of the certificate met there; empty without TLS.

    Raises the AddressErrors, CameraUnreachableError, CameraTlsError, CameraCertificateUntrustedError,
    CameraCertificateChangedError.
    """
    # Reading what the system trusts takes tens of milliseconds, and others' media waits for this loop.
    context = await asyncio.to_thread(tls_context, source.tls_trust) if target.tls else None
    loop = asyncio.get_running_loop()
    reason = "network"
    for address in await guard.addresses(target.host, target.port):
        try:
            async with asyncio.timeout(timeout_s):
                transport, connection = await loop.create_connection(
                    make,
                    address.ip,
                    address.port,
                    ssl=context,
                    server_hostname=target.host if context is not None else None,
                )
        except TimeoutError:
            reason = "timeout"
        except ConnectionRefusedError:
            reason = "refused"
        except ssl.SSLCertVerificationError as error:
            raise CameraCertificateUntrustedError(
                "certificate not trusted", host=target.host, reason=error.verify_message
            ) from None
        except ssl.SSLError as error:
            raise CameraTlsError("no TLS", host=target.host, port=target.port, reason=error.reason or "") from None
        except OSError as error:
            if context is not None and isinstance(error, ConnectionResetError | ConnectionAbortedError):
                # It took the connection, and let go at our first word of TLS.
                raise CameraTlsError("no TLS", host=target.host, port=target.port, reason="closed") from None
            reason = "no-route" if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH) else "network"
        else:
            met = fingerprint_of(transport) if context is not None else ""
            if source.tls_trust is TlsTrust.PIN and source.tls_pin and met and met != source.tls_pin:
                connection.close()
                raise CameraCertificateChangedError("another certificate", host=target.host, fingerprint=met)
            return connection, met
    raise CameraUnreachableError("no TCP connection", host=target.host, port=target.port, reason=reason)


def tls_context(trust: TlsTrust) -> ssl.SSLContext:
    """TLS 1.2 or newer. Pinned certificates are compared as a whole, so nothing in them is asked for."""
    if trust is TlsTrust.VERIFY:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # Cameras sign with what they had when they were made: RSA of 1,024 bits, SHA-1.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def fingerprint_of(transport: asyncio.BaseTransport) -> str:
    """SHA-256 of the peer's certificate (DER), lower-case hexadecimal."""
    certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return hashlib.sha256(certificate or b"").hexdigest()
