"""Passwords for players that cannot hold a session (RTSP).

RTSP Digest (RFC 7616) needs a secret that both sides know, which an argon2 hash is not, and Basic would carry the
person's own password in the clear. So each person has a stream password of its own, derived from the service's key,
the person's id and the hash of their own password: nothing new to store, worthless anywhere but at the RTSP server, and
gone as soon as the person changes their password or is disabled.
"""

import base64
import hashlib
import hmac

from storage.records import User
from streaming.secret import Secret
from web.access.scopes import Scope, scopes_of
from web.county import CountyPicture

_WATCHING = frozenset({Scope.LIVE_WATCH, Scope.RECORDINGS_PLAY})


class StreamPasswords:
    """Derives stream passwords with ``key`` (at least 16 bytes)."""

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.sha256(b"sanhui stream passwords\0" + key).digest()

    def of(self, user: User) -> Secret:
        """The stream password of a user: 130 bits in 26 characters that are easy to type."""
        message = f"{user.id}\0{user.password_hash}".encode()
        digest = hmac.new(self._key, message, hashlib.sha256).digest()
        return Secret(base64.b32encode(digest).decode("ascii")[:26].lower())

    def lookup(self, picture: CountyPicture, username: str) -> Secret | None:
        """The stream password of a name; None unless that person may watch live, or recordings."""
        user = picture.users_by_name.get(username.lower())
        if user is None or not user.active or not _WATCHING & scopes_of(user.role, user.scopes):
            return None
        return self.of(user)
