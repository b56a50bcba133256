"""SDP fragments of trickle ICE over HTTP (RFC 8840; RFC 9725, 4.3): what a PATCH says and what it is answered."""

from collections.abc import Sequence
from dataclasses import dataclass

from streaming.webrtc.errors import OfferBrokenError
from streaming.webrtc.ice import IceCredentials
from streaming.webrtc.port import HostCandidate

MAX_FRAGMENT_BYTES = 32 * 1024
CONTENT_TYPE = "application/trickle-ice-sdpfrag"


@dataclass(frozen=True, slots=True)
class IceFragment:
    """``ice`` is None where the fragment names no credentials. ``candidates`` is how many it brings: an ICE-lite agent
    needs none of them, it is found by the peer's checks."""

    ice: IceCredentials | None
    candidates: int


def parse_fragment(text: str) -> IceFragment:
    """Read a fragment. Raises OfferBrokenError."""
    if len(text) > MAX_FRAGMENT_BYTES:
        raise OfferBrokenError("a fragment beyond the bounds", reason="too-long")
    fragment = password = ""
    candidates = 0
    for line in text.splitlines():
        name, _, value = line.strip().partition(":")
        if name == "a=ice-ufrag" and not fragment:
            fragment = value
        elif name == "a=ice-pwd" and not password:
            password = value
        elif name == "a=candidate":
            candidates += 1
        elif name and not name.startswith(("a=", "m=", "c=", "v=", "o=", "s=", "t=")):
            raise OfferBrokenError("not a fragment of a session description", reason="syntax")
    if bool(fragment) != bool(password) or len(fragment) > 256 or len(password) > 256:
        # RFC 8840, 9.2 lets a client that only adds candidates leave out the password.
        if password or len(fragment) > 256:
            raise OfferBrokenError("half of the ICE credentials", reason="syntax")
        return IceFragment(None, candidates)
    return IceFragment(IceCredentials(fragment, password) if fragment else None, candidates)


def write_fragment(ice: IceCredentials, mid: str, candidates: Sequence[HostCandidate]) -> str:
    """The answer to an ICE restart (RFC 9725, 4.3.3)."""
    lines = ["a=ice-lite", f"a=ice-ufrag:{ice.fragment}", f"a=ice-pwd:{ice.password}"]
    lines += ["m=audio 9 UDP/TLS/RTP/SAVPF 0", f"a=mid:{mid}"]
    for item in candidates:
        kind = " tcptype passive" if item.transport == "tcp" else ""
        where = f"{item.priority} {item.address} {item.port}"
        lines.append(f"a=candidate:{item.foundation} 1 {item.transport} {where} typ host{kind}")
    return "\r\n".join([*lines, "a=end-of-candidates", ""])
