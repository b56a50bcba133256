"""STUN for an ICE-lite agent (RFC 8489, RFC 8445): binding requests read and answered, nothing else.

Read from the bytes and built as bytes: every viewer checks every two seconds or so, and aioice's message objects take
half a millisecond for each, as much as a hundred packets of media. What is cheap to refuse is refused first.
"""

import binascii
import hmac
import ipaddress
import struct
from dataclasses import dataclass

HEADER_BYTES = 20
MAX_MESSAGE_BYTES = 1280
_COOKIE = 0x2112A442
_COOKIE_BYTES = _COOKIE.to_bytes(4, "big")
_BINDING_REQUEST = 0x0001
_BINDING_SUCCESS = 0x0101
_BINDING_ERROR = 0x0111
_USERNAME = 0x0006
_MESSAGE_INTEGRITY = 0x0008
_ERROR_CODE = 0x0009
_XOR_MAPPED_ADDRESS = 0x0020
_USE_CANDIDATE = 0x0025
_FINGERPRINT = 0x8028
_ICE_CONTROLLED = 0x8029
_FINGERPRINT_XOR = 0x5354554E
_INTEGRITY_BYTES = 24
_FINGERPRINT_BYTES = 8
_MAX_ATTRIBUTES = 24
_HEADER = struct.Struct("!HHI")
_ATTRIBUTE = struct.Struct("!HH")
_WORD = struct.Struct("!I")

Address = tuple[str, int]


class StunBrokenError(ValueError):
    """Not a STUN message, or one that is not authentic."""


@dataclass(frozen=True, slots=True)
class Check:
    """An authentic connectivity check (RFC 8445, 7.3)."""

    transaction: bytes
    nominated: bool
    controlled: bool
    """The peer says that it is the controlled one: with an ICE-lite agent it must not be."""
    remote_fragment: str


def is_binding_request(data: bytes | memoryview) -> bool:
    """Whether the bytes look like a binding request, judged by the header alone."""
    if not HEADER_BYTES <= len(data) <= MAX_MESSAGE_BYTES or len(data) % 4:
        return False
    kind, length, cookie = _HEADER.unpack_from(data)
    return bool(kind == _BINDING_REQUEST and cookie == _COOKIE and length == len(data) - HEADER_BYTES)


def _attributes(data: bytes | memoryview) -> dict[int, tuple[int, int]]:
    """Where the value of each attribute begins and ends, the first of a kind; what comes behind MESSAGE-INTEGRITY is
    not authentic and is left out, but for FINGERPRINT (RFC 8489, 9)."""
    found: dict[int, tuple[int, int]] = {}
    at, end = HEADER_BYTES, len(data)
    for _ in range(_MAX_ATTRIBUTES):
        if at + 4 > end:
            break
        kind, length = _ATTRIBUTE.unpack_from(data, at)
        if at + 4 + length > end:
            break
        if kind not in found and (kind == _FINGERPRINT or _MESSAGE_INTEGRITY not in found):
            found[kind] = (at + 4, at + 4 + length)
        at += 4 + length + (-length & 3)
    return found


def username(data: bytes | memoryview) -> bytes:
    """The USERNAME of a message that passed :func:`is_binding_request`; empty if there is none."""
    start, end = _attributes(data).get(_USERNAME, (0, 0))
    return bytes(data[start:end])


def read_check(data: bytes, password: bytes) -> Check:
    """Parse a binding request and check MESSAGE-INTEGRITY with our ``password``, and FINGERPRINT. Raises
    StunBrokenError."""
    if not is_binding_request(data):
        raise StunBrokenError("not a binding request")
    found = _attributes(data)
    name, integrity, fingerprint = (found.get(kind) for kind in (_USERNAME, _MESSAGE_INTEGRITY, _FINGERPRINT))
    # RFC 8445, 7.1: a check has all three. FINGERPRINT is the last attribute (RFC 8489, 14.7).
    if name is None or integrity is None or fingerprint is None or fingerprint[1] != len(data):
        raise StunBrokenError("not a check")
    if integrity[1] - integrity[0] != 20 or fingerprint[1] - fingerprint[0] != 4:
        raise StunBrokenError("attributes of a wrong length")
    (crc,) = _WORD.unpack_from(data, fingerprint[0])
    if crc != binascii.crc32(data[: fingerprint[0] - 4]) ^ _FINGERPRINT_XOR:
        raise StunBrokenError("the fingerprint is wrong")
    covered = _with_length(data[: integrity[0] - 4], integrity[1] - HEADER_BYTES)
    if not hmac.compare_digest(hmac.digest(password, covered, "sha1"), data[integrity[0] : integrity[1]]):
        raise StunBrokenError("not authentic")
    remote = data[name[0] : name[1]].partition(b":")[2]
    return Check(data[8:20], _USE_CANDIDATE in found, _ICE_CONTROLLED in found, remote.decode("utf-8", "replace"))


def success(check: Check, peer: Address, password: bytes) -> bytes:
    """The answer to a check from ``peer``."""
    ip = ipaddress.ip_address(peer[0].partition("%")[0])
    plain = peer[1].to_bytes(2, "big") + ip.packed
    mask = _COOKIE_BYTES[:2] + _COOKIE_BYTES + check.transaction
    masked = bytes(one ^ other for one, other in zip(plain, mask, strict=False))
    value = bytes((0, 1 if ip.version == 4 else 2)) + masked
    return _message(_BINDING_SUCCESS, check, _XOR_MAPPED_ADDRESS, value, password)


def role_conflict(check: Check, password: bytes) -> bytes:
    """The answer to a peer that wants us to be controlling, which an ICE-lite agent never is (RFC 8445, 7.3.1.1)."""
    value = b"\0\0\x04\x57Role Conflict"
    return _message(_BINDING_ERROR, check, _ERROR_CODE, value, password)


def _with_length(data: bytes, length: int) -> bytes:
    return data[:2] + length.to_bytes(2, "big") + data[4:]


def _message(kind: int, check: Check, attribute: int, value: bytes, password: bytes) -> bytes:
    body = _ATTRIBUTE.pack(attribute, len(value)) + value + bytes(-len(value) & 3)
    # The length in the header counts what is being computed, not yet what follows (RFC 8489, 14.5).
    header = _HEADER.pack(kind, len(body) + _INTEGRITY_BYTES, _COOKIE) + check.transaction
    digest = hmac.digest(password, header + body, "sha1")
    data = header + body + _ATTRIBUTE.pack(_MESSAGE_INTEGRITY, 20) + digest
    data = _with_length(data, len(data) - HEADER_BYTES + _FINGERPRINT_BYTES)
    crc = binascii.crc32(data) ^ _FINGERPRINT_XOR
    return data + _ATTRIBUTE.pack(_FINGERPRINT, 4) + _WORD.pack(crc)
