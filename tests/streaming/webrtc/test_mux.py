"""What the port refuses: floods of checks, forged ones, strangers' packets, connections that say nothing."""

import asyncio
import binascii
import hmac
import random
import socket
import struct
from collections.abc import Sequence

import pytest
from aioice import stun as aioice_stun

from media.clock import SystemClock
from streaming.webrtc import stun, tcp
from streaming.webrtc.ice import MAX_PATHS, IceCredentials, IceSession
from streaming.webrtc.mux import Mux, MuxSettings
from streaming.webrtc.port import PortSettings, WebRtcPort
from streaming.webrtc.wire import Wire
from tests.support.clocks import FakeClock


class Way:
    """A path that keeps what is sent on it."""

    kind = "udp"

    def __init__(self, peer: tuple[str, int]) -> None:
        self.peer = peer
        self.sent: list[bytes] = []

    def send(self, packet: bytes) -> bool:
        self.sent.append(packet)
        return True

    def send_many(self, packets: Sequence[bytes]) -> int:
        self.sent += packets
        return len(packets)

    def send_wire(self, data: memoryview, wire: Wire) -> int:
        self.sent.append(bytes(data))
        return wire.count

    def close(self) -> None:
        """Nothing is kept open."""


class House:
    """A mux with one session, and what reached it."""

    def __init__(self, settings: MuxSettings | None = None) -> None:
        self.clock = FakeClock()
        self.mux = Mux(self.clock, settings or MuxSettings())
        self.came: list[bytes] = []
        self.session = IceSession(
            IceCredentials("them", "p" * 24), self.clock, lambda packet, at: self.came.append(packet), lambda: None
        )
        self.mux.add(self.session)
        self.ways: dict[tuple[str, int], Way] = {}

    def packet(self, data: bytes, peer: tuple[str, int] = ("192.0.2.7", 4000)) -> None:
        def way() -> Way:
            return self.ways.setdefault(peer, Way(peer))

        self.mux.datagram(peer, peer, memoryview(data), 0, way)

    def check(self, **changed: object) -> bytes:
        return check(self.session.local.fragment, self.session.local.password, **changed)  # type: ignore[arg-type]


def check(
    fragment: str, password: str, *, theirs: str = "them", nominate: bool = True, role: str = "ICE-CONTROLLING"
) -> bytes:
    message = aioice_stun.Message(aioice_stun.Method.BINDING, aioice_stun.Class.REQUEST)
    message.attributes["USERNAME"] = f"{fragment}:{theirs}"
    message.attributes["PRIORITY"] = 1
    message.attributes[role] = 7
    if nominate:
        message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity(password.encode())
    return bytes(message)


def answer_to(house: House, peer: tuple[str, int] = ("192.0.2.7", 4000)) -> aioice_stun.Message:
    return aioice_stun.parse_message(house.ways[peer].sent[-1])


def test_a_check_is_answered_with_the_address_it_came_from() -> None:
    house = House()
    house.packet(house.check())
    answer = answer_to(house)
    assert answer.message_class is aioice_stun.Class.RESPONSE
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == ("192.0.2.7", 4000)
    assert answer.check_message_integrity(house.session.local.password.encode())
    assert house.session.path is house.ways["192.0.2.7", 4000]
    house.packet(b"\x80media")
    assert house.came == [b"\x80media"]


def test_what_comes_before_a_check_is_nobodys() -> None:
    house = House()
    house.packet(b"\x80media")
    house.packet(bytes([22]) + b"hello")
    assert house.came == []
    assert house.mux.counters.unknown == 2


@pytest.mark.parametrize("fragment", ["", "nobody", "ünbekannt", ":", "x" * 300])
def test_unknown_fragments_get_no_answer(fragment: str) -> None:
    house = House()
    house.packet(check(fragment, "p" * 24))
    assert house.ways == {}
    assert house.mux.counters.unknown == 1


def test_forged_checks_get_no_answer() -> None:
    house = House()
    fragment, password = house.session.local.fragment, house.session.local.password
    house.packet(check(fragment, "wrong" * 5))
    house.packet(check(fragment, password, theirs="other"))
    whole = bytearray(house.check())
    whole[-1] ^= 1
    house.packet(bytes(whole))
    without_fingerprint = house.check()[:-8]
    house.packet(struct.pack("!HH", 1, len(without_fingerprint) - 20) + without_fingerprint[4:])
    assert house.mux.counters.broken == 4
    assert all(not way.sent for way in house.ways.values())
    assert house.session.path is None


def test_a_peer_that_wants_to_be_controlled_is_told_of_the_conflict() -> None:
    house = House()
    house.packet(house.check(role="ICE-CONTROLLED"))
    assert answer_to(house).attributes["ERROR-CODE"][0] == 487
    assert house.session.path is None


def test_a_host_that_floods_is_not_computed_on_and_a_known_peer_is_not_hurt() -> None:
    house = House(MuxSettings(checks_per_s=10, burst=20))
    house.packet(house.check())
    for port in range(1000, 1100):
        house.packet(check(house.session.local.fragment, "wrong" * 5), ("192.0.2.7", port))
    assert house.mux.counters.broken == 19
    assert house.mux.counters.limited == 81
    before = len(house.ways["192.0.2.7", 4000].sent)
    house.packet(house.check())
    assert len(house.ways["192.0.2.7", 4000].sent) == before + 1
    # Another host has a bound of its own, and this one's is lifted with time.
    house.packet(house.check(nominate=False), ("192.0.2.8", 4000))
    assert answer_to(house, ("192.0.2.8", 4000)).message_class is aioice_stun.Class.RESPONSE
    house.clock.advance(1.0)
    house.packet(house.check(nominate=False), ("192.0.2.7", 5000))
    assert answer_to(house, ("192.0.2.7", 5000)).message_class is aioice_stun.Class.RESPONSE


def test_paths_are_bounded_and_the_one_in_use_stays() -> None:
    house = House()
    house.packet(house.check())
    for port in range(5000, 5000 + 3 * MAX_PATHS):
        house.packet(house.check(nominate=False), ("192.0.2.7", port))
    assert len(house.session.paths) == MAX_PATHS
    assert house.session.path is house.ways["192.0.2.7", 4000]
    assert house.mux.knows(("192.0.2.7", 4000))
    assert not house.mux.knows(("192.0.2.7", 5000))


def test_old_credentials_serve_until_the_new_ones_have_a_path() -> None:
    house = House()
    house.packet(house.check())
    old = house.check()
    house.session.restart(IceCredentials("anew", "q" * 24))
    house.mux.add(house.session)
    house.packet(old)
    assert answer_to(house).message_class is aioice_stun.Class.RESPONSE
    house.packet(house.check(theirs="anew"), ("192.0.2.9", 1))
    assert house.session.path is house.ways["192.0.2.9", 1]
    before = len(house.ways["192.0.2.7", 4000].sent)
    house.packet(old)
    assert len(house.ways["192.0.2.7", 4000].sent) == before
    house.mux.remove(house.session)
    assert house.mux.sessions == 0
    assert not house.mux.knows(("192.0.2.9", 1))


def test_any_bytes_are_borne() -> None:
    house = House()
    house.packet(house.check())
    whole = house.check()
    chance = random.Random(5)
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        data = data[: chance.randrange(1, len(data) + 1)]
        house.packet(bytes(data), ("192.0.2.7", chance.randrange(1, 60000)))
    assert house.session.path is house.ways["192.0.2.7", 4000]
    empty = stun.read_request(struct.pack("!HHI", 1, 0, 0x2112A442) + bytes(12))
    assert empty is not None
    with pytest.raises(stun.StunBrokenError):
        empty.check(stun.Signer(b"x"))


@pytest.mark.parametrize("size", [0, 1, 22, 64, 65, 256])
def test_signatures_are_those_of_the_library(size: int) -> None:
    password, data = bytes(range(256))[:size], b"message"
    assert stun.Signer(password).sign(data) == hmac.digest(password, data, "sha1")


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7"])
def test_checks_that_say_nothing_new_are_answered_each_by_its_own_transaction(host: str) -> None:
    house, peer = House(), (host, 4000)
    house.packet(house.check(), peer)
    password = house.session.local.password
    for _ in range(3):
        house.clock.advance(20)
        asked = house.check()
        house.packet(asked, peer)
        # As the library would answer it, which has read the whole of it.
        request = stun.read_request(asked)
        assert request is not None
        signer = stun.Signer(password.encode())
        assert house.ways[peer].sent[-1] == stun.success(request.check(signer), peer, signer)
        answer = answer_to(house, peer)
        assert answer.transaction_id == aioice_stun.parse_message(asked).transaction_id
        assert answer.attributes["XOR-MAPPED-ADDRESS"] == peer
        assert answer.check_message_integrity(password.encode())
        assert not house.session.expired()
    assert house.mux.counters.checks == 4
    assert len(house.ways) == 1


def test_what_only_looks_like_the_check_before_is_not_answered() -> None:
    house = House()
    house.packet(house.check())
    way = house.ways["192.0.2.7", 4000]
    house.clock.advance(20)
    forged = bytearray(house.check())
    for at in (8, 20, len(forged) - 33, len(forged) - 30, len(forged) - 20, len(forged) - 6, len(forged) - 1):
        for renewed in (False, True):
            wrong = bytearray(forged)
            wrong[at] ^= 1
            if renewed and at < len(forged) - 8:
                crc = binascii.crc32(wrong[:-8]) ^ 0x5354554E
                wrong[-4:] = crc.to_bytes(4, "big")
            elif renewed:
                continue
            house.packet(bytes(wrong))
    assert len(way.sent) == 1
    house.clock.advance(11)
    assert house.session.expired(), "what is not authentic keeps nobody's consent"


def test_after_a_restart_the_check_before_moves_nobody_and_the_new_one_does() -> None:
    house = House()
    house.packet(house.check())
    house.packet(house.check())
    old = house.check()
    house.session.restart(IceCredentials("them2", "q" * 24))
    house.mux.add(house.session)
    house.packet(old)
    assert len(house.ways["192.0.2.7", 4000].sent) == 3, "good until the new pair has a path"
    house.packet(house.check(theirs="them2"), ("192.0.2.8", 5000))
    assert house.session.path is house.ways["192.0.2.8", 5000]
    house.packet(old)
    assert len(house.ways["192.0.2.7", 4000].sent) == 3
    assert house.session.path is house.ways["192.0.2.8", 5000]


async def test_tcp_connections_that_say_nothing_or_nonsense_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "FIRST_CHECK_S", 0.1)
    async with WebRtcPort(PortSettings(host="127.0.0.1"), SystemClock()) as port, asyncio.timeout(20):
        assert port.tcp_port is not None
        for words in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\0\0", b"\0\x05\x80hell", b"\0\x03\x00"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port.tcp_port)
            writer.write(words)
            with_end = await asyncio.gather(reader.read(), return_exceptions=True)
            assert with_end[0] == b"" or isinstance(with_end[0], ConnectionResetError)
            writer.close()


async def test_one_host_cannot_take_all_connections() -> None:
    async with WebRtcPort(PortSettings(host="127.0.0.1"), SystemClock()) as port, asyncio.timeout(20):
        assert port.tcp_port is not None
        held = []
        for _ in range(tcp.MAX_STRANGERS_PER_HOST + 1):
            held.append(await asyncio.open_connection("127.0.0.1", port.tcp_port))
        ended = await asyncio.gather(held[-1][0].read(), return_exceptions=True)
        assert ended[0] == b"" or isinstance(ended[0], ConnectionResetError)
        for _, writer in held:
            writer.close()


async def test_a_flood_of_datagrams_does_not_starve_the_loop() -> None:
    async with WebRtcPort(PortSettings(host="127.0.0.1"), SystemClock()) as port, asyncio.timeout(20):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
            flood.connect(("127.0.0.1", port.port))
            turns = 0
            for _ in range(40):
                for _ in range(50):
                    flood.send(b"\x80" * 40)
                await asyncio.sleep(0)
                turns += 1
        while port.mux.counters.unknown < 2000 and turns < 500:
            await asyncio.sleep(0)
            turns += 1
        # A turn of the loop reads no more than the budget.
        assert turns >= 2000 // 64
        assert port.counters.received == port.mux.counters.unknown == 2000
