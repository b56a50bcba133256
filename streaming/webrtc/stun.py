"""STUN for an ICE-lite agent (RFC 8489, RFC 8445): binding requests read and answered, nothing else.

Read from the bytes and built as bytes: every viewer checks every two seconds or so, and aioice's message objects take
half a millisecond for each, as much as a hundred packets of media. What is cheap to refuse is refused first. A check
comes when the processor's caches have forgotten the one before, so what counts is how much code it runs through: the
keyed hash is begun once per session, as OpenSSL looks for its algorithms anew each time it is asked for one by name.
"""

import binascii
import hashlib
import hmac
import socket
import struct

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
_TRAILER_BYTES = _INTEGRITY_BYTES + _FINGERPRINT_BYTES
_AFTER_HEAD_BYTES = _TRAILER_BYTES - 4
_MAX_ATTRIBUTES = 24
_HEADER = struct.Struct("!HHI")
_ATTRIBUTE = struct.Struct("!HH")
_WORD = struct.Struct("!I")
_LAST = struct.Struct("!HHI")
_MAPPED = struct.Struct("!HHHH")
_INTEGRITY_HEAD = _ATTRIBUTE.pack(_MESSAGE_INTEGRITY, _INTEGRITY_BYTES - 4)
_BLOCK_BYTES = 64
_INNER = bytes(0x36 ^ octet for octet in range(256))
_OUTER = bytes(0x5C ^ octet for octet in range(256))

Address = tuple[str, int]


class StunBrokenError(ValueError):
    """Not a STUN message, or one that is not authentic."""


class Signer:
    """HMAC-SHA-1 (RFC 2104) with one key, as MESSAGE-INTEGRITY is made (RFC 8489, 14.5)."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, password: bytes) -> None:
        key = password if len(password) <= _BLOCK_BYTES else hashlib.sha1(password).digest()
        key = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha1(key.translate(_INNER))
        self._outer = hashlib.sha1(key.translate(_OUTER))

    def sign(self, data: bytes) -> bytes:
        """The code of 20 octets."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(data)
        outer.update(inner.digest())
        return outer.digest()


class Check:
    """An authentic connectivity check (RFC 8445, 7.3). ``controlled``: the peer says that it is the controlled one;
    with an ICE-lite agent it must not be."""

    __slots__ = ("controlled", "nominated", "remote_fragment", "transaction")

    def __init__(self, transaction: bytes, nominated: bool, controlled: bool, remote_fragment: str) -> None:
        self.transaction = transaction
        self.nominated = nominated
        self.controlled = controlled
        self.remote_fragment = remote_fragment


class Request:
    """A binding request that nobody has authenticated yet."""

    __slots__ = ("_data", "_found", "username")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._found = _attributes(data)
        start, end = self._found.get(_USERNAME, (0, 0))
        self.username = data[start:end]
        """USERNAME; empty if there is none."""

    def check(self, signer: Signer) -> Check:
        """The check that it is: MESSAGE-INTEGRITY by our password, and FINGERPRINT. Raises StunBrokenError."""
        data, found = self._data, self._found
        integrity, fingerprint = found.get(_MESSAGE_INTEGRITY), found.get(_FINGERPRINT)
        # RFC 8445, 7.1: a check has all three. FINGERPRINT is the last attribute (RFC 8489, 14.7).
        if _USERNAME not in found or integrity is None or fingerprint is None or fingerprint[1] != len(data):
            raise StunBrokenError("not a check")
        if integrity[1] - integrity[0] != 20 or fingerprint[1] - fingerprint[0] != 4:
            raise StunBrokenError("attributes of a wrong length")
        (crc,) = _WORD.unpack_from(data, fingerprint[0])
        if crc != binascii.crc32(data[: fingerprint[0] - 4]) ^ _FINGERPRINT_XOR:
            raise StunBrokenError("the fingerprint is wrong")
        covered = data[:2] + (integrity[1] - HEADER_BYTES).to_bytes(2, "big") + data[4 : integrity[0] - 4]
        if not hmac.compare_digest(signer.sign(covered), data[integrity[0] : integrity[1]]):
            raise StunBrokenError("not authentic")
        remote = self.username.partition(b":")[2].decode("utf-8", "replace")
        return Check(data[8:20], _USE_CANDIDATE in found, _ICE_CONTROLLED in found, remote)


def read_request(data: bytes | memoryview) -> Request | None:
    """The binding request that the bytes are, judged by their header alone; None if they are none."""
    if not HEADER_BYTES <= len(data) <= MAX_MESSAGE_BYTES or len(data) % 4:
        return None
    kind, length, cookie = _HEADER.unpack_from(data)
    if kind != _BINDING_REQUEST or cookie != _COOKIE or length != len(data) - HEADER_BYTES:
        return None
    return Request(bytes(data))


def _attributes(data: bytes) -> dict[int, tuple[int, int]]:
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


class Answers:
    """Answers to the checks of one peer: what is the same in all of them is made once."""

    __slots__ = ("_attribute", "_head", "_is_v6", "_masked", "_signed_head", "_signer")

    def __init__(self, peer: Address, signer: Signer) -> None:
        host = peer[0].partition("%")[0]
        self._is_v6 = ":" in host
        self._signer = signer
        ip = socket.inet_pton(socket.AF_INET6 if self._is_v6 else socket.AF_INET, host)
        cookie = _COOKIE_BYTES.ljust(len(ip), b"\0")
        self._masked = int.from_bytes(ip, "big") ^ int.from_bytes(cookie, "big")
        mapped = _MAPPED.pack(_XOR_MAPPED_ADDRESS, 4 + len(ip), 2 if self._is_v6 else 1, peer[1] ^ _COOKIE >> 16)
        self._attribute = mapped if self._is_v6 else mapped + self._masked.to_bytes(4, "big")
        # The length in the header counts what is being computed, not yet what follows (RFC 8489, 14.5).
        length = 4 + 4 + len(ip) + _INTEGRITY_BYTES
        self._signed_head = _HEADER.pack(_BINDING_SUCCESS, length, _COOKIE)
        self._head = _HEADER.pack(_BINDING_SUCCESS, length + _FINGERPRINT_BYTES, _COOKIE)

    def success(self, transaction: bytes) -> bytes:
        """The answer to one that is good."""
        rest = transaction + self._attribute
        if self._is_v6:
            # RFC 8489, 14.2: an IPv6 address is masked with the transaction too.
            rest += (self._masked ^ int.from_bytes(transaction, "big")).to_bytes(16, "big")
        data = self._head + rest + _INTEGRITY_HEAD + self._signer.sign(self._signed_head + rest)
        return data + _LAST.pack(_FINGERPRINT, 4, binascii.crc32(data) ^ _FINGERPRINT_XOR)


class Repeated:
    """A check that a peer sends again and again on one path, to say that it still wants what it gets (RFC 7675): only
    the transaction changes, and what is computed of it. ``data`` is one that :meth:`Request.check` has found good."""

    __slots__ = ("_answers", "_attributes", "_head", "_signed_head", "signer")

    def __init__(self, data: bytes, peer: Address, signer: Signer) -> None:
        self.signer = signer
        self._answers = Answers(peer, signer)
        self._head = data[:8]
        self._signed_head = data[:2] + (len(data) - HEADER_BYTES - _FINGERPRINT_BYTES).to_bytes(2, "big") + data[4:8]
        # Where another attribute stands in the place of MESSAGE-INTEGRITY, nothing is ever found equal.
        self._attributes = data[HEADER_BYTES:-_TRAILER_BYTES] + _INTEGRITY_HEAD

    def answer(self, data: bytes) -> bytes | None:
        """The answer to a check that is the same, and authentic; None if it is not, or is another."""
        if (
            len(data) != HEADER_BYTES + len(self._attributes) + _TRAILER_BYTES - len(_INTEGRITY_HEAD)
            or data[:8] != self._head
            or data[HEADER_BYTES:-_AFTER_HEAD_BYTES] != self._attributes
            or data[-_FINGERPRINT_BYTES:] != _LAST.pack(_FINGERPRINT, 4, binascii.crc32(data[:-8]) ^ _FINGERPRINT_XOR)
        ):
            return None
        code = self.signer.sign(self._signed_head + data[8:-_TRAILER_BYTES])
        if not hmac.compare_digest(code, data[-_AFTER_HEAD_BYTES:-_FINGERPRINT_BYTES]):
            return None
        return self._answers.success(data[8:HEADER_BYTES])


def success(check: Check, peer: Address, signer: Signer) -> bytes:
    """The answer to a check from ``peer``."""
    return Answers(peer, signer).success(check.transaction)


def role_conflict(check: Check, signer: Signer) -> bytes:
    """The answer to a peer that wants us to be controlling, which an ICE-lite agent never is (RFC 8445, 7.3.1.1)."""
    value = b"\0\0\x04\x57Role Conflict"
    head = _ATTRIBUTE.pack(_ERROR_CODE, len(value))
    return _message(_BINDING_ERROR, check, head + value + bytes(-len(value) & 3), signer)


def _message(kind: int, check: Check, attribute: bytes, signer: Signer) -> bytes:
    # The length in the header counts what is being computed, not yet what follows (RFC 8489, 14.5).
    length, rest = len(attribute) + _INTEGRITY_BYTES, check.transaction + attribute
    code = signer.sign(_HEADER.pack(kind, length, _COOKIE) + rest)
    data = _HEADER.pack(kind, length + _FINGERPRINT_BYTES, _COOKIE) + rest
    data += _INTEGRITY_HEAD + code
    return data + _LAST.pack(_FINGERPRINT, 4, binascii.crc32(data) ^ _FINGERPRINT_XOR)
