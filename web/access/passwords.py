"""Passwords of people: argon2id off the event loop, and what makes one good enough (GB/T 22239, 8.1.4.1)."""

import asyncio
from concurrent.futures import Executor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_LENGTH = 10
_MIN_CLASSES = 3


class Passwords:
    """Hashes and checks. The executor bounds how many run at a time, and so the memory they take (64 MiB each)."""

    def __init__(self, executor: Executor, hasher: PasswordHasher | None = None) -> None:
        self._executor = executor
        self._hasher = hasher or PasswordHasher()
        # Checked where the name is unknown, so that the answer takes as long as for a known one.
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        """The argon2id hash, parameters and salt inside."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._hasher.hash, password)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether the password is right. ``password_hash`` None is nobody's: False, after the same time."""
        if password_hash is None:
            if self._nobody is None:
                self._nobody = await self.hash("nobody")
            password_hash, known = self._nobody, False
        else:
            known = True
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._check, password_hash, password) and known

    def outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with weaker parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    def _check(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False


def weakness(password: str, username: str) -> str | None:
    """Why a new password is not good enough, as a code of the ``fields`` catalog; None if it is.

    Letters of scripts without case count as a class of their own, so that a sentence in Chinese is welcome.
    """
    classes = (
        any(char.isupper() for char in password),
        any(char.islower() for char in password),
        any(char.isdigit() for char in password),
        any(char.isalpha() and not char.isupper() and not char.islower() for char in password),
        any(not char.isalnum() for char in password),
    )
    if len(password) < MIN_LENGTH:
        return "too-short"
    if sum(classes) < _MIN_CLASSES:
        return "password-weak"
    if username and username.lower() in password.lower():
        return "password-has-name"
    return None
