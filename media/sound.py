"""Decoded sound on a timeline: G.711, placing pieces where their timestamps say, and a resampler on a global grid.

Everything here works from positions counted from the timeline's zero, so that the same instant gives the same value
whichever stretch it is computed in.
"""

from math import gcd

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.float32]

_ZERO_CROSSINGS = 16
_KAISER_BETA = 9.0
_PASS_BAND = 0.92


def _alaw_table() -> Pcm:
    """ITU-T G.711, table 1: 13-bit values of the 256 codes, here scaled to ±1."""
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, code & 15
    magnitude = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 264) << np.maximum(exponent - 1, 0))
    return (np.where(code & 0x80, magnitude, -magnitude) / 32_768).astype(np.float32)


def _mulaw_table() -> Pcm:
    """ITU-T G.711, table 2: 14-bit values of the 256 codes, here scaled to ±1."""
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = ((((code & 15) << 3) + 132) << ((code >> 4) & 7)) - 132
    return (np.where(code & 0x80, -magnitude, magnitude) / 32_768).astype(np.float32)


_ALAW, _MULAW = _alaw_table(), _mulaw_table()


def decode_alaw(data: bytes | memoryview) -> Pcm:
    """A-law octets as samples between -1 and 1."""
    return _ALAW[np.frombuffer(data, np.uint8)]


def decode_mulaw(data: bytes | memoryview) -> Pcm:
    """µ-law octets as samples between -1 and 1."""
    return _MULAW[np.frombuffer(data, np.uint8)]


class SoundLine:
    """Joins pieces of sound into one line without holes, each at its own position.

    ``position`` is the next sample's number on the timeline. A hole up to ``bridge`` samples is bridged by a straight
    line, which nobody hears; a longer one is silence. What overlaps is cut from the later piece. Shape (channels, n).
    """

    def __init__(self, channels: int, position: int, bridge: int) -> None:
        self.position = position
        self._bridge = bridge
        self._last = np.zeros((channels, 1), np.float32)

    def place(self, at: int, piece: Pcm) -> Pcm:
        """The line's continuation up to the end of ``piece``, which begins at sample ``at``."""
        hole = at - self.position
        if hole < 0:
            piece = piece[:, -hole:]
        if not piece.shape[1]:
            return piece
        if hole > self._bridge:
            piece = np.concatenate((np.zeros((piece.shape[0], hole), np.float32), piece), axis=1)
        elif hole > 0:
            share = (np.arange(1, hole + 1, dtype=np.float32) / np.float32(hole + 1))[None, :]
            line = self._last * (1 - share) + piece[:, :1] * share
            piece = np.concatenate((line, piece), axis=1)
        self._last = piece[:, -1:]
        self.position += piece.shape[1]
        return piece


class Resampler:
    """A polyphase low-pass on the global grid: output sample j is the sound at j / ``rate_out`` seconds.

    Begins at source sample ``position``. Each value depends only on the ``reach`` source samples to either side.
    """

    def __init__(self, channels: int, rate_in: int, rate_out: int, position: int) -> None:
        divisor = gcd(rate_in, rate_out)
        self._up, self._down = rate_out // divisor, rate_in // divisor
        self.reach = 1 if rate_in == rate_out else _ZERO_CROSSINGS * -(-self._down // min(self._up, self._down))
        self._bank = self._kernels()
        # Values before the beginning count as silence.
        self._source = np.zeros((channels, self.reach), np.float32)
        self._source_at = position - self.reach
        self.position = -(-position * self._up // self._down)

    def _kernels(self) -> Pcm:
        """One row of 2 * reach taps for each phase; a Kaiser-windowed sinc."""
        if self._up == self._down:
            return np.array([[1, 0]], np.float32)
        cutoff = min(1.0, self._up / self._down) * _PASS_BAND
        taps = np.arange(1 - self.reach, self.reach + 1, dtype=np.float64)
        distance = taps[None, :] - (np.arange(self._up) / self._up)[:, None]
        window = np.i0(_KAISER_BETA * np.sqrt(np.clip(1 - (distance / self.reach) ** 2, 0, None))) / np.i0(_KAISER_BETA)
        kernels = np.sinc(distance * cutoff) * cutoff * window
        return np.asarray(kernels / kernels.sum(axis=1, keepdims=True), np.float32)

    def push(self, piece: Pcm) -> Pcm:
        """Take the next source samples, shape (channels, n); the output that is certain now."""
        self._source = np.concatenate((self._source, piece), axis=1)
        end = self._source_at + self._source.shape[1]
        # Output j needs source samples up to floor(j * down / up) + reach.
        last = -(-(end - self.reach) * self._up // self._down)
        count = max(0, last - self.position)
        output = np.empty((piece.shape[0], count), np.float32)
        if not count:
            # The first pieces may be shorter than the window: nothing is certain yet.
            return output
        windows = np.lib.stride_tricks.sliding_window_view(self._source, 2 * self.reach, axis=1)
        for offset in range(min(self._up, count)):
            base, phase = divmod((self.position + offset) * self._down, self._up)
            first = base - self.reach + 1 - self._source_at
            rows = windows[:, first :: self._down][:, : -(-(count - offset) // self._up)]
            output[:, offset :: self._up] = rows @ self._bank[phase]
        self.position += count
        keep_from = self.position * self._down // self._up - self.reach + 1 - self._source_at
        if keep_from > 0:
            self._source = self._source[:, keep_from:].copy()
            self._source_at += keep_from
        return output
