"""The test picture: a drawn meeting room with a clock for people, a clock for machines, and a flash each second.

Only luma changes from frame to frame, in a few places, so that drawing and encoding stay cheap. The machine's clock is
two rows of 28 black and white cells along the bottom: 48 bits of UTC milliseconds, most significant first, then 8 bits
of CRC. It survives compression and scaling as long as a cell stays a few pixels wide.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FLASH_NS = 100_000_000
_COLUMNS, _ROWS = 28, 2
_BLACK, _WHITE = 16, 235
_LEAST_CONTRAST = 60

Picture = NDArray[np.uint8]


def _clock_top(height: int) -> int:
    return height - height // 6


def _edges(length: int, parts: int, start: int = 0) -> list[int]:
    return [start + length * index // parts for index in range(parts + 1)]


def _crc8(data: bytes) -> int:
    """CRC-8 with polynomial 0x07, begun with 0xFF so that an all-black row is not valid."""
    value = 0xFF
    for octet in data:
        value ^= octet
        for _ in range(8):
            value = ((value << 1) ^ 0x07) & 0xFF if value & 0x80 else value << 1
    return value


class TestPicture:
    """Draws frames as planar YUV 4:2:0 arrays of height * 3 / 2 rows. ``noise`` (0-100) adds moving grain, to give an
    encoder work."""

    __test__ = False

    def __init__(self, width: int, height: int, label: str = "", noise: int = 0) -> None:
        if width % 4 or height % 4 or width < 160 or height < 96:
            raise ValueError(f"a test picture of {width}x{height} cannot be drawn")
        self._width, self._height = width, height
        self._label = label
        self._top = _clock_top(height)
        self._frame = self._background()
        self._scale = height / 360
        self._flash = (
            slice(height // 20, height // 20 + height // 6),
            slice(width - height // 4, width - height // 20),
        )
        self._text_rows = slice(height // 20, height // 20 + height // 6)
        self._text_columns = slice(width // 32, width // 32 + width // 2)
        self._grain: NDArray[np.int16] | None = None
        self._noise_area = (slice(height // 3, self._top - 4), slice(width // 8, width - width // 8))
        if noise:
            random = np.random.default_rng(1)
            shape = (height * 2, width * 2)
            self._grain = (random.integers(-noise, noise + 1, shape)).astype(np.int16)
            self._quiet = self._frame[self._noise_area].astype(np.int16)

    def draw(self, utc_ns: int, number: int = 0) -> Picture:
        """The picture taken at ``utc_ns``. The array is used again for the next one."""
        frame = self._frame
        self._draw_digits(utc_ns)
        self._draw_clock(utc_ns // 1_000_000)
        frame[self._flash] = _WHITE if utc_ns % 1_000_000_000 < FLASH_NS else 48
        if self._grain is not None:
            height, width = self._quiet.shape
            top, left = (number * 37) % height, (number * 53) % width
            grain = self._grain[top : top + height, left : left + width]
            frame[self._noise_area] = np.clip(self._quiet + grain, _BLACK, _WHITE)
        return frame

    def _draw_digits(self, utc_ns: int) -> None:
        moment = datetime.fromtimestamp(utc_ns // 1_000_000_000, UTC) + timedelta(hours=8)
        text = f"{moment:%H:%M:%S}.{utc_ns // 1_000_000 % 1000:03d}"
        panel = np.full((self._height // 6, self._width // 2), 24, np.uint8)
        at = (int(8 * self._scale), int(40 * self._scale))
        weight = max(1, int(2 * self._scale))
        cv2.putText(panel, text, at, cv2.FONT_HERSHEY_SIMPLEX, 1.15 * self._scale, 225, weight, cv2.LINE_AA)
        day = f"{moment:%Y-%m-%d}  {self._label}"
        at = (int(8 * self._scale), int(55 * self._scale))
        cv2.putText(panel, day, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4 * self._scale, 190, 1, cv2.LINE_AA)
        self._frame[self._text_rows, self._text_columns] = panel

    def _draw_clock(self, milliseconds: int) -> None:
        payload = milliseconds.to_bytes(6, "big")
        bits = np.unpackbits(np.frombuffer(payload + bytes((_crc8(payload),)), np.uint8)).reshape(_ROWS, _COLUMNS)
        rows = _edges(self._height - self._top, _ROWS, self._top)
        columns = _edges(self._width, _COLUMNS)
        line = np.empty(self._width, np.uint8)
        for row in range(_ROWS):
            for column in range(_COLUMNS):
                line[columns[column] : columns[column + 1]] = _WHITE if bits[row, column] else _BLACK
            self._frame[rows[row] : rows[row + 1], : self._width] = line

    def _background(self) -> Picture:
        """A room: wall, red banner, table, chairs; neutral grey where only luma will be drawn."""
        height, width = self._height, self._width
        room = np.full((height, width, 3), (178, 196, 205), np.uint8)
        floor = height * 3 // 5
        room[floor:] = (96, 120, 148)
        cv2.rectangle(room, (width // 5, height // 4), (width * 4 // 5, height // 3), (38, 30, 190), -1)
        cv2.putText(
            room,
            "SAN HUI YI KE",
            (width // 3, height // 3 - height // 40),
            cv2.FONT_HERSHEY_DUPLEX,
            height / 600,
            (90, 215, 255),
            max(1, height // 300),
            cv2.LINE_AA,
        )
        table = [
            (width // 4, floor),
            (width * 3 // 4, floor),
            (width * 7 // 8, height * 4 // 5),
            (width // 8, height * 4 // 5),
        ]
        cv2.fillPoly(room, [np.array(table, np.int32)], (58, 92, 140))
        for seat in range(7):
            x = width // 4 + seat * width // 12
            cv2.circle(room, (x, floor - height // 16), height // 28, (88, 112, 132), -1)
            cv2.rectangle(
                room, (x - height // 22, floor - height // 36), (x + height // 22, floor + 4), (72, 64, 60), -1
            )
        frame = cv2.cvtColor(room, cv2.COLOR_BGR2YUV_I420)
        drawn = np.asarray(frame, np.uint8).copy()
        grey = room.copy()
        grey[self._top :] = 0
        grey[: height // 20 + height // 6 + height // 40] = 40
        drawn[:] = cv2.cvtColor(grey, cv2.COLOR_BGR2YUV_I420)
        return drawn


def _luma(frame: NDArray[Any]) -> NDArray[Any]:
    return frame if frame.ndim == 2 else np.asarray(frame[..., 1])


def read_clock(frame: NDArray[Any]) -> int | None:
    """The UTC time in milliseconds that a decoded picture (H x W luma, or H x W x 3 RGB/BGR) carries, if readable."""
    luma = _luma(frame)
    height, width = luma.shape
    if height < 24 or width < 2 * _COLUMNS:
        return None
    top = _clock_top(height)
    rows, columns = _edges(height - top, _ROWS, top), _edges(width, _COLUMNS)
    cells = np.empty(_ROWS * _COLUMNS)
    for row in range(_ROWS):
        inset_y = (rows[row + 1] - rows[row]) // 4
        for column in range(_COLUMNS):
            inset_x = (columns[column + 1] - columns[column]) // 4
            cell = luma[
                rows[row] + inset_y : rows[row + 1] - inset_y, columns[column] + inset_x : columns[column + 1] - inset_x
            ]
            cells[row * _COLUMNS + column] = cell.mean()
    low, high = cells.min(), cells.max()
    if high - low < _LEAST_CONTRAST:
        return None
    octets = np.packbits(cells > (low + high) / 2).tobytes()
    return int.from_bytes(octets[:6], "big") if _crc8(octets[:6]) == octets[6] else None


def flash_visible(frame: NDArray[Any]) -> bool:
    """Whether the corner flash, which lasts the first 100 ms of each UTC second, is on in a decoded picture."""
    luma = _luma(frame)
    height, width = luma.shape
    middle_y, middle_x = height // 20 + height // 12, width - (height // 4 + height // 20) // 2
    reach = max(1, height // 30)
    patch = luma[middle_y - reach : middle_y + reach, middle_x - reach : middle_x + reach]
    return bool(patch.mean() > 150)
