"""Errors of the web layer.

WebError
├── SettingsError             a setting that cannot be used (start only)
├── RequestError              a request that cannot be taken as it is
│   ├── FieldsInvalidError    fields with wrong values, one entry for each
│   ├── BodyInvalidError      a body that is not JSON
│   ├── BodyTypeError         a body of another media type
│   ├── BodyTooLargeError     a body beyond the bound
│   ├── NotFoundError         nothing here under this address or id
│   ├── MethodNotAllowedError the address is known, the method is not
│   ├── StateConflictError    a change that what is there does not allow
│   └── NoteRefusedError      a guidance note to a meeting that does not run
├── AccessError               a person who may not do this
│   ├── NotLoggedInError      no session, or it is over
│   ├── LoginFailedError      name or password is wrong
│   ├── LockedOutError        too many failures: wait
│   ├── CsrfError             the CSRF header is absent or wrong
│   ├── ForbiddenError        the role does not allow it
│   ├── OutsideAreaError      it belongs to another area
│   ├── SupervisionRefusedError the camera's register does not allow looking in
│   └── LinkInvalidError      a one-time link that is used, too old, or never was
└── BusyError                 bounded work is full: try again soon

Every error has a ``code`` (kebab-case, stable) and ``params`` (what the sentence needs; never a secret), and here also
its HTTP ``status``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class WrongField:
    """A field and what is wrong with it: ``code`` is looked up in the catalogs under ``fields``."""

    field: str
    code: str
    params: dict[str, str | int | float]


class WebError(Exception):
    """Base of all errors of this package."""

    code: ClassVar[str] = "web-error"
    status: ClassVar[int] = 500

    def __init__(self, message: str = "", **params: str | int | float) -> None:
        super().__init__(message or self.code)
        self.params = params


class SettingsError(WebError):
    """A setting that cannot be used; the sentences for people are in ``sentences`` by language."""

    code = "settings-wrong"

    def __init__(self, setting: str, sentences: dict[str, str]) -> None:
        super().__init__(f"setting {setting} is wrong", setting=setting)
        self.setting = setting
        self.sentences = sentences


class RequestError(WebError):
    """A request that cannot be taken as it is."""

    code = "request-wrong"
    status = 400


class FieldsInvalidError(RequestError):
    """Fields with wrong values."""

    code = "fields-invalid"
    status = 422

    def __init__(self, fields: Sequence[WrongField]) -> None:
        super().__init__(f"{len(fields)} fields are wrong", count=len(fields))
        self.fields = tuple(fields)


class BodyInvalidError(RequestError):
    """A body that is not JSON in UTF-8."""

    code = "body-invalid"


class BodyTypeError(RequestError):
    """A body of a media type that is not taken."""

    code = "body-type"
    status = 415


class BodyTooLargeError(RequestError):
    """A body beyond the bound. ``params``: ``limit_kb``."""

    code = "body-too-large"
    status = 413


class NotFoundError(RequestError):
    """Nothing here under this address or id."""

    code = "not-found"
    status = 404


class MethodNotAllowedError(RequestError):
    """The address is known, the method is not. ``params``: ``method``, ``allowed``."""

    code = "method-not-allowed"
    status = 405


class StateConflictError(RequestError):
    """A change that what is there does not allow. ``params``: ``what``."""

    code = "state-conflict"
    status = 409


class NoteRefusedError(RequestError):
    """A guidance note to a meeting that does not run, or an answer to it."""

    code = "note-refused"
    status = 409


class AccessError(WebError):
    """A person who may not do this."""

    code = "access-refused"
    status = 403


class NotLoggedInError(AccessError):
    """No session, or it is over."""

    code = "not-logged-in"
    status = 401


class LoginFailedError(AccessError):
    """Name or password is wrong; which of them is not said. ``params``: ``left`` tries before a wait."""

    code = "login-failed"
    status = 401


class LockedOutError(AccessError):
    """Too many failures. ``params``: ``seconds`` to wait."""

    code = "locked-out"
    status = 429


class CsrfError(AccessError):
    """The CSRF header is absent or wrong."""

    code = "csrf-wrong"


class ForbiddenError(AccessError):
    """The role does not allow it. ``params``: ``scope``."""

    code = "forbidden"


class OutsideAreaError(AccessError):
    """It belongs to another area."""

    code = "outside-area"


class SupervisionRefusedError(AccessError):
    """The purpose that the camera is registered for does not cover looking in."""

    code = "supervision-refused"


class LinkInvalidError(AccessError):
    """A one-time link that is used, too old, or never was."""

    code = "link-invalid"
    status = 410


class BusyError(WebError):
    """Bounded work is full. ``params``: ``seconds`` until it is worth trying again."""

    code = "busy"
    status = 503
