"""Pasted URLs and the guard against addresses nobody should be sent to."""

import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.addresses import AddressGuard, AddressPolicy, parse_rtsp_url, redacted, split_credentials
from streaming.errors import AddressRefusedError, AddressUnresolvedError, StreamingError, UrlInvalidError


@pytest.mark.parametrize(
    ("pasted", "clean", "username", "password"),
    [
        ("rtsp://192.168.1.64/a", "rtsp://192.168.1.64/a", None, None),
        (" rtsp://admin:12345@192.168.1.64:554/a?b=c ", "rtsp://192.168.1.64:554/a?b=c", "admin", "12345"),
        ("rtsp://admin:p%40ss%3Aw%2Frd%E6%B1%89%E5%AD%97@h/a", "rtsp://h/a", "admin", "p@ss:w/rd汉字"),
        ("rtsp://admin:p@ss:w/rd汉字@192.168.1.64:554/a", "rtsp://192.168.1.64:554/a", "admin", "p@ss:w/rd汉字"),
        ("rtsp://admin:a#b?c@h:8554/a", "rtsp://h:8554/a", "admin", "a#b?c"),
        ("rtsp://admin:100%@h/a", "rtsp://h/a", "admin", "100%"),
        ("rtsp://admin@h/a", "rtsp://h/a", "admin", ""),
        ("rtsp://u:pw9@[fe80::1]:554/a", "rtsp://[fe80::1]:554/a", "u", "pw9"),
        ("rtsp://h/path@with", "rtsp://h/path@with", None, None),
    ],
)
def test_credentials_are_parted_from_the_url(
    pasted: str, clean: str, username: str | None, password: str | None
) -> None:
    url, credentials = split_credentials(pasted)
    assert url == clean
    if credentials is None:
        assert username is None
    else:
        assert (credentials.username, credentials.password.reveal()) == (username, password)
        assert not password or password not in repr(credentials)


@pytest.mark.parametrize(
    ("url", "host", "port", "ascii_url"),
    [
        ("rtsp://cam", "cam", 554, "rtsp://cam"),
        ("rtsp://[2001:db8::1]:8554/x", "2001:db8::1", 8554, "rtsp://[2001:db8::1]:8554/x"),
        ("rtsp://摄像机.例子/会议室?a=1&b=汉", "xn--o1q278b98b.xn--fsqu00a", 554, None),
        ("rtsp://h/cam/realmonitor?channel=1&subtype=0", "h", 554, "rtsp://h/cam/realmonitor?channel=1&subtype=0"),
        ("rtsp://h/a%20b", "h", 554, "rtsp://h/a%20b"),
    ],
)
def test_urls_are_read_and_made_ascii(url: str, host: str, port: int, ascii_url: str | None) -> None:
    parsed = parse_rtsp_url(url)
    assert (parsed.host, parsed.port) == (host, port)
    assert parsed.url.isascii()
    if ascii_url is not None:
        assert parsed.url == ascii_url
    assert parse_rtsp_url(parsed.url) == parsed


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "length"),
        ("rtsp://h/" + "a" * 3000, "length"),
        ("rtsp://h/" + "会" * 300, "length"),
        ("rtsp://\N{GREEK TONOS}/", "host"),
        ("http://h/a", "scheme"),
        ("h/a", "scheme"),
        ("rtsp://", "host"),
        ("rtsp:///a", "host"),
        ("rtsp://h:99999/a", "port"),
        ("rtsp://h:0/a", "port"),
        ("rtsp://h:x/a", "port"),
        ("rtsp://[::1/a", "host"),
        ("rtsp://u:p@h/a", "credentials"),
        ("rtsp://h/a b", "characters"),
        ("rtsp://h/a\r\nX: y", "characters"),
        ("rtsp://" + "a" * 64 + "/", "host"),
    ],
)
def test_urls_that_name_no_camera(url: str, reason: str) -> None:
    with pytest.raises(UrlInvalidError) as caught:
        parse_rtsp_url(url)
    assert caught.value.params == {"reason": reason}


@settings(deadline=None)
@given(st.text(max_size=60), st.sampled_from(["", "rtsp://", "rtsp://a:b@"]))
def test_any_text_is_a_url_or_a_typed_error(text: str, start: str) -> None:
    clean, _ = split_credentials(start + text)
    try:
        parse_rtsp_url(clean)
    except StreamingError as error:
        assert error.code == "url-invalid"  # noqa: PT017


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://h/user=admin&password=geheim&channel=1.sdp", "rtsp://h/user=admin&password=***&channel=1.sdp"),
        ("rtsp://h/user=admin_password=geheim_channel=1", "rtsp://h/user=admin_password=***"),
        ("rtsp://h/a?Pwd=geheim", "rtsp://h/a?Pwd=***"),
        ("rtsp://admin:geheim@h/a?b=c", "rtsp://h/a?b=c"),
        ("/a?token=geheim&channel=1", "/a?token=***&channel=1"),
        ("rtsp://h/cam/realmonitor?channel=1&subtype=0", "rtsp://h/cam/realmonitor?channel=1&subtype=0"),
        ("rtsp://h/bypass=1", "rtsp://h/bypass=1"),
    ],
)
def test_passwords_among_the_parameters_are_not_shown(url: str, shown: str) -> None:
    assert redacted(url) == shown


def guard(names: dict[str, list[str]] | None = None, **policy: object) -> AddressGuard:
    async def resolve(host: str, port: int) -> list[str]:
        if names is None or host not in names:
            raise socket.gaierror(-2, "unknown")
        return names[host]

    return AddressGuard(AddressPolicy(**policy), resolve)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("169.254.169.254", "link-local"),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("100.100.100.200", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("127.0.0.1", "loopback"),
        ("127.8.8.8", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:169.254.169.254", "link-local"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("2002:7f00:1::", "loopback"),
        ("10.9.0.1", "refused-network"),
    ],
)
async def test_dangerous_addresses_are_refused(address: str, kind: str) -> None:
    checker = guard({"camera.example": [address]}, refused_networks=("10.9.0.0/16",))
    for host in (address, "camera.example"):
        with pytest.raises(AddressRefusedError) as caught:
            await checker.addresses(host, 554)
        assert caught.value.params["kind"] == kind


@pytest.mark.parametrize("address", ["192.168.1.64", "10.0.0.1", "172.16.3.4", "fd12::1", "8.8.8.8", "100.64.0.1"])
async def test_where_cameras_live_is_allowed(address: str) -> None:
    assert [one.ip for one in await guard().addresses(address, 554)] == [address]


async def test_a_name_with_good_and_bad_addresses_keeps_the_good() -> None:
    checker = guard({"cam": ["169.254.169.254", "192.168.1.2", "192.168.1.2", "127.0.0.1"]})
    assert [one.ip for one in await checker.addresses("cam", 554)] == ["192.168.1.2"]


async def test_own_ports_are_refused_even_where_loopback_is_allowed() -> None:
    checker = guard(allow_loopback=True, own_ports=frozenset({8080}))
    assert [one.port for one in await checker.addresses("127.0.0.1", 554)] == [554]
    for address in ("127.0.0.1", "::1", "127.0.0.9"):
        with pytest.raises(AddressRefusedError) as caught:
            await checker.addresses(address, 8080)
        assert caught.value.params["kind"] == "own-port"
    # 192.0.2.0/24 is for documentation: nobody has it, so it is not this machine.
    assert await checker.addresses("192.0.2.7", 8080)


async def test_numbers_that_hide_an_address_are_resolved_before_they_are_judged() -> None:
    system = AddressGuard(AddressPolicy())
    for host in ("2130706433", "0x7f.1", "127.1", "localhost"):
        with pytest.raises((AddressRefusedError, AddressUnresolvedError)):
            await system.addresses(host, 554)


async def test_an_unknown_name() -> None:
    with pytest.raises(AddressUnresolvedError) as caught:
        await guard().addresses("nobody.invalid", 554)
    assert caught.value.params == {"host": "nobody.invalid"}
