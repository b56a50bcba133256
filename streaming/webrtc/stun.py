"""STUN for an ICE-lite agent (RFC 8489, RFC 8445): what is cheap to refuse is refused before anything is computed.

aioice parses, checks and builds the messages; this module looks at the raw bytes first and narrows what can go wrong to
one exception.
"""

import struct
from dataclasses import dataclass

from aioice import stun

HEADER_BYTES = 20
MAX_MESSAGE_BYTES = 1280
_COOKIE = 0x2112A442
_BINDING_REQUEST = 0x0001
_USERNAME = 0x0006
_MAX_ATTRIBUTES = 24
_HEADER = struct.Struct("!HHI")
_ATTRIBUTE = struct.Struct("!HH")

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


def username(data: bytes | memoryview) -> bytes:
    """The USERNAME of a message that passed :func:`is_binding_request`; empty if there is none."""
    at, end = HEADER_BYTES, len(data)
    for _ in range(_MAX_ATTRIBUTES):
        if at + 4 > end:
            break
        kind, length = _ATTRIBUTE.unpack_from(data, at)
        if at + 4 + length > end:
            break
        if kind == _USERNAME:
            return bytes(data[at + 4 : at + 4 + length])
        at += 4 + length + (-length & 3)
    return b""


def read_check(data: bytes, password: bytes) -> Check:
    """Parse a binding request and check MESSAGE-INTEGRITY with our ``password``, and FINGERPRINT. Raises
    StunBrokenError."""
    try:
        message = stun.parse_message(data)
        authentic = message.check_message_integrity(password)
        name = message.attributes["USERNAME"]
    except (ValueError, KeyError, IndexError, struct.error) as error:
        raise StunBrokenError("not a STUN message") from error
    # RFC 8445, 7.1.3: both are mandatory in a check.
    if not authentic or "FINGERPRINT" not in message.attributes:
        raise StunBrokenError("not authentic")
    return Check(
        transaction=message.transaction_id,
        nominated="USE-CANDIDATE" in message.attributes,
        controlled="ICE-CONTROLLED" in message.attributes,
        remote_fragment=name.partition(":")[2],
    )


def success(check: Check, peer: Address, password: bytes) -> bytes:
    """The answer to a check from ``peer``."""
    message = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, check.transaction)
    message.attributes["XOR-MAPPED-ADDRESS"] = peer
    message.add_message_integrity(password)
    return bytes(message)


def role_conflict(check: Check, password: bytes) -> bytes:
    """The answer to a peer that wants us to be controlling, which an ICE-lite agent never is (RFC 8445, 7.3.1.1)."""
    message = stun.Message(stun.Method.BINDING, stun.Class.ERROR, check.transaction)
    message.attributes["ERROR-CODE"] = (487, "Role Conflict")
    message.add_message_integrity(password)
    return bytes(message)
