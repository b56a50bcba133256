"""TLS for cameras: certificates that nobody has signed, and a front that puts TLS before a plain server."""

import asyncio
import contextlib
import datetime
import hashlib
import ipaddress
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its key in one PEM file; ``fingerprint`` is the SHA-256 of its DER."""

    path: Path
    fingerprint: str


def make_certificate(folder: Path, name: str = "camera") -> Certificate:
    """A self-signed certificate for 127.0.0.1, as a camera makes one at its first start."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return Certificate(path, hashlib.sha256(made.public_bytes(serialization.Encoding.DER)).hexdigest())


@dataclass(slots=True)
class TlsFront:
    """A running front. ``show`` changes the certificate; whoever is connected is cut off, as at a camera's restart."""

    port: int
    _context: ssl.SSLContext
    _writers: set[asyncio.StreamWriter]

    def show(self, certificate: Certificate) -> None:
        """From now on answer with this certificate."""
        self._context.load_cert_chain(certificate.path)
        for writer in tuple(self._writers):
            writer.transport.abort()


@contextlib.asynccontextmanager
async def tls_front(certificate: Certificate, port: int) -> AsyncIterator[TlsFront]:
    """TLS on a port of its own, in front of the plain server on ``port``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path)
    writers: set[asyncio.StreamWriter] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_there = await asyncio.open_connection("127.0.0.1", port)
        writers.update((writer, to_there))
        try:
            await asyncio.gather(pump(reader, to_there), pump(there, writer))
        finally:
            writers.difference_update((writer, to_there))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield TlsFront(server.sockets[0].getsockname()[1], context, writers)
    finally:
        server.close()
        for writer in tuple(writers):
            writer.transport.abort()
