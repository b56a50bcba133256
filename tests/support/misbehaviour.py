"""What cameras and the ways to them do to packets: small changes to a stream of arrivals, applied one after another.

Each maker returns a :data:`Change`. Times are seconds since the first packet; ``index`` is the medium's number, and
``None`` means all of them. A network does not take back the order of a TCP connection, so :func:`jitter` keeps it.
"""

import random
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import replace

from media.rtcp import ntp_from_unix, unix_from_ntp
from media.unit import NS_PER_S
from tests.support.rtp_feed import Arrival

Change = Callable[[Iterable[Arrival]], Iterator[Arrival]]

RATES = (90_000, 8_000)
"""RTP clock rates by the number of the medium, in hertz."""


def lose(index: int, numbers: Container[int]) -> Change:
    """The RTP packets of one medium whose numbers, counted from 0, are in ``numbers`` never arrive."""

    def change(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        number = -1
        for arrival in arrivals:
            if arrival.index == index and not arrival.is_report:
                number += 1
                if number in numbers:
                    continue
            yield arrival

    return change


def be_away(from_s: float, to_s: float, index: int | None = None) -> Change:
    """Nothing is sent for a while, and no packet number is missing afterwards."""

    def change(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        missing: dict[int, int] = {}
        for at_s, arrival in _since_first(arrivals):
            if arrival.is_report or index not in (None, arrival.index):
                yield arrival
            elif from_s <= at_s < to_s:
                missing[arrival.index] = missing.get(arrival.index, 0) + 1
            else:
                yield _renumbered(arrival, -missing.get(arrival.index, 0))

    return change


def double(every: int = 1) -> Change:
    """Each packet, or each ``every``-th one, arrives twice."""

    def change(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        for number, arrival in enumerate(arrivals):
            yield arrival
            if number % every == 0:
                yield arrival

    return change


def shuffle(depth: int, seed: int = 1) -> Change:
    """Packets overtake each other by up to ``depth`` places. The very first ones say where numbers begin."""

    def change(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        chance = random.Random(seed)
        block: list[Arrival] = []
        begun: set[int] = set()
        for arrival in arrivals:
            if arrival.is_report or arrival.index not in begun:
                begun.update(() if arrival.is_report else (arrival.index,))
                yield arrival
                continue
            block.append(arrival)
            if len(block) > depth:
                times = [each.at_ns for each in block]
                chance.shuffle(block)
                yield from (replace(each, at_ns=at_ns) for each, at_ns in zip(block, times, strict=True))
                block = []
        yield from block

    return change


def jitter(most_s: float, seed: int = 2) -> Change:
    """Each packet is late by up to ``most_s``; none overtakes another."""

    def change(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        chance = random.Random(seed)
        newest = 0
        for arrival in arrivals:
            newest = max(newest, arrival.at_ns + round(chance.random() * most_s * NS_PER_S))
            yield _at(arrival, newest)

    return change


def read_every(interval_s: float) -> Change:
    """Packets are read, all together, only every ``interval_s``: arrival is late by up to that."""
    interval_ns = round(interval_s * NS_PER_S)

    def change(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        for arrival in arrivals:
            yield _at(arrival, -(-arrival.at_ns // interval_ns) * interval_ns)

    return change


def stall(at_s: float, for_s: float) -> Change:
    """What is sent from ``at_s`` on for ``for_s`` arrives at the end of that time, all at once."""

    def change(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        for since_s, arrival in _since_first(arrivals):
            if at_s <= since_s < at_s + for_s:
                arrival = replace(arrival, at_ns=arrival.at_ns + round((at_s + for_s - since_s) * NS_PER_S))
            yield arrival

    return change


def mark(marker: Callable[[int], bool], index: int = 0) -> Change:
    """The marker of the n-th packet of a medium is what ``marker`` says."""

    def change(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        number = -1
        for arrival in arrivals:
            if arrival.index != index or arrival.is_report:
                yield arrival
                continue
            number += 1
            packet = bytearray(arrival.packet)
            packet[1] = (packet[1] & 0x7F) | (0x80 if marker(number) else 0)
            yield replace(arrival, packet=bytes(packet))

    return change


def retime(time: Callable[[float, int, int], int], index: int | None = None) -> Change:
    """RTP time is what ``time`` says, given seconds since the first packet, RTP time and the clock's rate. Sender
    reports, which read the same clock, change with it."""

    def change(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        for since_s, arrival in _since_first(arrivals):
            if index not in (None, arrival.index):
                yield arrival
                continue
            at = 16 if arrival.is_report else 4
            packet = bytearray(arrival.packet)
            now = int.from_bytes(packet[at : at + 4], "big")
            packet[at : at + 4] = (time(since_s, now, RATES[arrival.index]) & 0xFFFFFFFF).to_bytes(4, "big")
            yield replace(arrival, packet=bytes(packet))

    return change


def jump(at_s: float, by_s: float, index: int | None = None) -> Change:
    """RTP time jumps by ``by_s`` at ``at_s``, while the wall clock goes on."""
    return retime(lambda since_s, now, rate: now + (round(by_s * rate) if since_s >= at_s else 0), index)


def stand_still(from_s: float, to_s: float, index: int | None = None) -> Change:
    """RTP time does not move between ``from_s`` and ``to_s``, and goes on from there."""
    held: dict[int, int] = {}

    def time(since_s: float, now: int, rate: int) -> int:
        if since_s < from_s:
            return now
        if since_s < to_s:
            return held.setdefault(rate, now)
        return now - round((to_s - from_s) * rate)

    return retime(time, index)


def report(clock: Callable[[float, int, int], int | None]) -> Change:
    """Sender reports show the wall clock that ``clock`` says (Unix nanoseconds), given seconds since the first packet,
    the number of the medium and the true time; ``None`` leaves the report out."""

    def change(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        for since_s, arrival in _since_first(arrivals):
            if not arrival.is_report:
                yield arrival
                continue
            packet = bytearray(arrival.packet)
            true_ns = unix_from_ntp(int.from_bytes(packet[8:12], "big"), int.from_bytes(packet[12:16], "big"))
            shown_ns = clock(since_s, arrival.index, true_ns)
            if shown_ns is None:
                continue
            packet[8:16] = ntp_from_unix(shown_ns).to_bytes(8, "big")
            yield replace(arrival, packet=bytes(packet))

    return change


def no_reports() -> Change:
    """No sender reports at all."""
    return report(lambda since_s, index, true_ns: None)


def _since_first(arrivals: Iterable[Arrival]) -> Iterator[tuple[float, Arrival]]:
    first: int | None = None
    for arrival in arrivals:
        first = arrival.at_ns if first is None else first
        yield (arrival.at_ns - first) / NS_PER_S, arrival


def _at(arrival: Arrival, at_ns: int) -> Arrival:
    # For each packet of an hour: dataclasses.replace() takes several times as long.
    return Arrival(arrival.index, arrival.packet, at_ns, arrival.is_report)


def _renumbered(arrival: Arrival, by: int) -> Arrival:
    packet = bytearray(arrival.packet)
    packet[2:4] = ((int.from_bytes(packet[2:4], "big") + by) & 0xFFFF).to_bytes(2, "big")
    return replace(arrival, packet=bytes(packet))
