"""Camera passwords at rest: AES-256-GCM, with the key's id in front so that keys can be rotated.

A sealed secret is ``v1.<key id>.<base64url of nonce + ciphertext + tag>``. The *context* (the camera's id) is
authenticated with it: a sealed password copied to another camera's row does not open there.
"""

import base64
import binascii
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.errors import SecretError, SecretKeyError
from storage.files import sync_directory

_VERSION = "v1"
_NONCE_BYTES = 12
_KEY_BYTES = 32
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")


@dataclass(frozen=True, slots=True)
class SecretKeys:
    """Keys by id; ``current`` seals, all open."""

    current: str
    keys: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        """One fresh random key."""
        key_id = secrets.token_hex(4)
        return cls(current=key_id, keys={key_id: secrets.token_bytes(_KEY_BYTES)})

    def rotated(self) -> Self:
        """A fresh key in front; the old ones still open what they sealed."""
        fresh = type(self).generate()
        return type(self)(current=fresh.current, keys={**self.keys, **fresh.keys})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read ``id:base64`` entries, separated by commas or line ends; the first is current. Raises ``SecretError``,
        which does not repeat the text."""
        keys: dict[str, bytes] = {}
        for entry in text.replace(",", "\n").split():
            key_id, _, encoded = entry.partition(":")
            try:
                key = base64.b64decode(encoded, altchars=b"-_", validate=True)
            except ValueError:
                key = b""
            if not _KEY_ID.fullmatch(key_id) or len(key) != _KEY_BYTES:
                raise SecretError("this is not a key: a key looks like id:base64 of 32 bytes")
            keys[key_id] = key
        if not keys:
            raise SecretError("there is no key")
        return cls(current=next(iter(keys)), keys=keys)

    def to_text(self) -> str:
        """What :meth:`from_text` reads, one key a line."""
        ordered = sorted(self.keys, key=lambda key_id: key_id != self.current)
        return "".join(
            f"{key_id}:{base64.urlsafe_b64encode(self.keys[key_id]).decode('ascii')}\n" for key_id in ordered
        )

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """Read the key file; make it first if there is none (readable by its owner alone, mode 0600).

        Raises ``SecretKeyError`` if the file is not a key file, or if others may read it. Blocks: call it at start.
        """
        try:
            return cls.load(path)
        except FileNotFoundError:
            pass
        path.parent.mkdir(parents=True, exist_ok=True)
        keys = cls.generate()
        try:
            keys.save(path)
        except FileExistsError:
            return cls.load(path)
        return keys

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key file. Raises ``FileNotFoundError``, ``SecretKeyError``."""
        if path.stat().st_mode & 0o077:
            raise SecretKeyError("the key file can be read by others; chmod 600 it", path=str(path))
        try:
            return cls.from_text(path.read_text(encoding="ascii"))
        except (UnicodeDecodeError, SecretError):
            raise SecretKeyError("this is not a key file", path=str(path)) from None

    def save(self, path: Path, *, replace: bool = False) -> None:
        """Write the key file, mode 0600, whole or not at all. Raises ``FileExistsError`` unless ``replace``. Once this
        returns, a power cut does not bring the file of before back. Written by root, it is for the owner of the file
        before it, or of its folder."""
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if os.geteuid() == 0:
                    # As an administrator's command does; the service that has to read it is somebody else.
                    owner = (path if path.exists() else path.parent).stat()
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                file.write(self.to_text().encode("ascii"))
                file.flush()
                os.fsync(file.fileno())
            if replace:
                os.replace(temporary, path)
            else:
                os.link(temporary, path)
            # Passwords that only this key opens are about to be committed.
            sync_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


class SecretBox:
    """Seals and opens short texts with :class:`SecretKeys`."""

    def __init__(self, keys: SecretKeys) -> None:
        self._current = keys.current
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.keys.items()}

    def seal(self, text: str, context: str) -> str:
        """``text`` sealed for ``context``; ``""`` stays ``""``."""
        if not text:
            return ""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._ciphers[self._current].encrypt(nonce, text.encode(), context.encode())
        return f"{_VERSION}.{self._current}.{base64.urlsafe_b64encode(sealed).decode('ascii')}"

    def open(self, sealed: str, context: str) -> str:
        """What was sealed for ``context``. Raises ``SecretError`` if the key is missing or the secret was altered."""
        if not sealed:
            return ""
        version, _, rest = sealed.partition(".")
        key_id, _, body = rest.partition(".")
        cipher = self._ciphers.get(key_id)
        if version != _VERSION or cipher is None:
            raise SecretError("the key of this secret is not at hand", key_id=key_id[:16])
        try:
            data = base64.b64decode(body, altchars=b"-_", validate=True)
            return cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], context.encode()).decode()
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise SecretError("this secret was altered", key_id=key_id) from error
