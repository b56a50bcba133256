"""The Range header (RFC 2326, 3.6, 3.7 and 12.29): what part of a presentation a PLAY is for."""

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from media.unit import NS_PER_S

_SECONDS = re.compile(r"(\d{1,9})(?:\.(\d{1,9})?)?")
_CLOCK_TIME = re.compile(r"(?:(\d{1,7}):)?(\d{1,2}):(\d{1,2})(?:\.(\d{1,9}))?")
_UTC = re.compile(r"(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})(?:\.(\d{1,9}))?Z", re.IGNORECASE)


class RangeInvalidError(ValueError):
    """A Range that cannot be read, or is in a unit we do not do (SMPTE): 457."""


@dataclass(frozen=True, slots=True)
class PlayRange:
    """``start_ns`` and ``end_ns`` count from the presentation's start, or, where ``wall_clock``, are Unix nanoseconds.
    None is left open: the start is then where it was paused, or now."""

    start_ns: int | None = None
    end_ns: int | None = None
    wall_clock: bool = False


def read_range(text: str | None) -> PlayRange:
    """What a PLAY asks for. Raises RangeInvalidError."""
    if text is None:
        return PlayRange()
    unit, separator, span = text.partition(";")[0].strip().partition("=")
    start, dash, end = span.strip().partition("-")
    if not separator or not dash:
        raise RangeInvalidError("no range")
    unit = unit.strip().lower()
    if unit == "npt":
        low = None if start.strip().lower() in ("", "now") else read_npt(start)
        high = None if not end.strip() else read_npt(end)
    elif unit == "clock":
        low = None if not start.strip() else read_utc(start)
        high = None if not end.strip() else read_utc(end)
    else:
        raise RangeInvalidError("a unit that is not done")
    if low is not None and high is not None and high <= low:
        raise RangeInvalidError("backwards")
    return PlayRange(low, high, unit == "clock")


def read_npt(text: str) -> int:
    """Normal play time, ``90.5`` or ``0:01:30.5``, as nanoseconds. Raises RangeInvalidError."""
    text = text.strip()
    if (match := _SECONDS.fullmatch(text)) is not None:
        return int(match[1]) * NS_PER_S + _fraction(match[2])
    if (match := _CLOCK_TIME.fullmatch(text)) is not None:
        return (int(match[1] or 0) * 3600 + int(match[2]) * 60 + int(match[3])) * NS_PER_S + _fraction(match[4])
    raise RangeInvalidError("no play time")


def read_utc(text: str) -> int:
    """A time such as ``20261121T093000.25Z`` as Unix nanoseconds. Raises RangeInvalidError."""
    match = _UTC.fullmatch(text.strip())
    if match is None:
        raise RangeInvalidError("no time")
    try:
        year, month, day, hour, minute, second = (int(match[n]) for n in range(1, 7))
        when = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise RangeInvalidError("no time") from error
    return calendar.timegm(when.timetuple()) * NS_PER_S + _fraction(match[7])


def write_npt(time_ns: int) -> str:
    """Seconds with milliseconds, rounded down."""
    milliseconds = time_ns // 1_000_000
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"


def write_utc(utc_ns: int) -> str:
    """As :func:`read_utc` reads it, with milliseconds."""
    when = datetime.fromtimestamp(utc_ns // NS_PER_S, UTC)
    return f"{when:%Y%m%dT%H%M%S}.{utc_ns % NS_PER_S // 1_000_000:03d}Z"


def _fraction(digits: str | None) -> int:
    return int((digits or "0").ljust(9, "0")[:9])
