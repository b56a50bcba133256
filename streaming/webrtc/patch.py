"""A PATCH to a session, of a viewer or of a publisher: candidates, or ICE anew (RFC 9725, 4.3)."""

from streaming.webrtc.admission import check_etag, new_etag
from streaming.webrtc.fragment import parse_fragment, write_fragment
from streaming.webrtc.peer import Peer


def patched(peer: Peer, mid: str, etag: str, text: str, if_match: str | None) -> tuple[str, str | None]:
    """Do what the fragment ``text`` asks for: the session's entity tag from now on, and the answer's fragment, None
    where ICE does not begin anew. ``mid`` is the media section that the answer names, ``if_match`` the header as it
    came.

    Raises SessionGoneError, SessionUnnamedError, SessionChangedError, OfferBrokenError.
    """
    ice = parse_fragment(text).ice
    if ice == peer.remote_ice:
        ice = None
    check_etag(if_match, etag, restart=ice is not None)
    if ice is None:
        return etag, None
    local = peer.restart_ice(ice)
    return new_etag(), write_fragment(local.ice, mid, local.candidates)
