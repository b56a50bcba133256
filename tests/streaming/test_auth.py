"""Log-in: known answers of the RFCs, our client against our server, and what cameras do."""

import base64
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.rtsp.auth import (
    Challenge,
    ClientAuthenticator,
    ServerAuthenticator,
    digest_response,
    parse_challenges,
    parse_parameters,
)
from streaming.secret import Secret
from tests.support.clocks import FakeClock

URL = "rtsp://10.0.0.9:554/live/hall"
WEIRD = 'p@ss:w/rd汉字"\\'


def passwords(name: str) -> Secret | None:
    return {"admin": Secret(WEIRD), "viewer": Secret("viewer")}.get(name)


def server(**options: object) -> ServerAuthenticator:
    return ServerAuthenticator("三会", passwords, FakeClock(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_example_of_rfc_7616(algorithm: str, expected: str) -> None:
    challenge = Challenge(
        "Digest", "http-auth@example.org", "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", algorithm=algorithm, qop=True
    )
    response = digest_response(
        challenge,
        username="Mufasa",
        password=Secret("Circle of Life"),
        method="GET",
        uri="/dir/index.html",
        cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        count="00000001",
    )
    assert response == expected


@pytest.mark.parametrize("algorithms", [("MD5",), ("SHA-256",), ("MD5", "SHA-256"), ()])
def test_our_client_logs_in_to_our_server(algorithms: tuple[str, ...]) -> None:
    authenticator = server(algorithms=algorithms)
    client = ClientAuthenticator("admin", Secret(WEIRD))
    assert client.authorization("DESCRIBE", URL) is None
    assert client.challenged(authenticator.challenges())
    for method, url in (("DESCRIBE", URL), ("SETUP", URL + "/track1")):
        answer = client.authorization(method, url)
        assert authenticator.check(method, url, answer).user == "admin"
        assert WEIRD not in (answer or "")
    strongest = "SHA-256" if "SHA-256" in algorithms else "MD5" if algorithms else "Basic"
    assert strongest in (client.authorization("PLAY", URL) or "")


@pytest.mark.parametrize("algorithms", [("MD5",), ("SHA-256",), ()])
@pytest.mark.parametrize(("user", "password"), [("admin", "wrong"), ("nobody", WEIRD), ("", "")])
def test_wrong_log_ins_are_refused(algorithms: tuple[str, ...], user: str, password: str) -> None:
    authenticator = server(algorithms=algorithms)
    client = ClientAuthenticator(user, Secret(password))
    assert client.challenged(authenticator.challenges())
    verdict = authenticator.check("DESCRIBE", URL, client.authorization("DESCRIBE", URL))
    assert verdict.user is None
    assert not verdict.stale


def test_an_answer_holds_for_its_method_and_place_only() -> None:
    authenticator = server(allow_basic=False)
    client = ClientAuthenticator("admin", Secret(WEIRD))
    client.challenged(authenticator.challenges())
    answer = client.authorization("DESCRIBE", URL)
    assert authenticator.check("SETUP", URL, answer).user is None
    assert authenticator.check("DESCRIBE", "rtsp://10.0.0.9:554/live/other", answer).user is None
    assert authenticator.check("DESCRIBE", URL + "2", answer).user is None


def test_an_old_nonce_is_stale_only_for_those_who_know_the_password() -> None:
    clock = FakeClock()
    authenticator = ServerAuthenticator("r", passwords, clock, nonce_lifetime_s=60)
    right, wrong = ClientAuthenticator("viewer", Secret("viewer")), ClientAuthenticator("viewer", Secret("x"))
    for client in (right, wrong):
        client.challenged(authenticator.challenges())
    clock.advance(61)
    assert authenticator.check("PLAY", URL, right.authorization("PLAY", URL)).stale
    assert not authenticator.check("PLAY", URL, wrong.authorization("PLAY", URL)).stale
    assert any("stale=true" in value for value in authenticator.challenges(stale=True))


def test_a_nonce_of_somebody_else_is_refused() -> None:
    client = ClientAuthenticator("viewer", Secret("viewer"))
    client.challenged(['Digest realm="三会", nonce="1f.00112233445566778899aabbccddeeff", algorithm=MD5'])
    assert server().check("PLAY", URL, client.authorization("PLAY", URL)).user is None


def test_basic_can_be_shut() -> None:
    pair = base64.b64encode(b"viewer:viewer").decode()
    assert server().check("PLAY", URL, f"Basic {pair}").user == "viewer"
    assert server(allow_basic=False).check("PLAY", URL, f"Basic {pair}").user is None
    client = ClientAuthenticator("viewer", Secret("viewer"), allow_basic=False)
    assert not client.challenged(['Basic realm="x"'])


@settings(deadline=None)
@given(st.text(max_size=200))
def test_garbage_is_refused_not_raised(value: str) -> None:
    authenticator = server()
    for scheme in ("", "Basic ", "Digest "):
        assert authenticator.check("PLAY", URL, scheme + value).user is None


def test_challenges_as_cameras_write_them() -> None:
    values = [
        'Basic realm="IP Camera(C1234)"',
        'Digest realm="IP Camera(C1234)", nonce="48a3:1f", stale="FALSE"',
        'digest realm=IPC,nonce=abc,algorithm=sha-256,qop="auth-int,auth",opaque=""',
        'Digest realm="x", nonce="y", algorithm=SHA-512-256',
        'Digest realm="x", nonce="y", qop="auth-int"',
        'Negotiate abc, Basic realm="two in one"',
    ]
    found = parse_challenges(values)
    assert [(one.scheme, one.algorithm, one.realm) for one in found] == [
        ("Digest", "SHA-256", "IPC"),
        ("Digest", "MD5", "IP Camera(C1234)"),
        ("Basic", "MD5", "IP Camera(C1234)"),
        ("Basic", "MD5", "two in one"),
    ]
    assert found[0].qop
    assert not found[1].qop
    client = ClientAuthenticator("admin", Secret("p"))
    assert client.challenged(values)
    answer = parse_parameters((client.authorization("PLAY", URL) or "").removeprefix("Digest "))
    assert answer["algorithm"] == "sha-256"
    assert answer["qop"] == "auth"
    assert answer["nc"] == "00000001"
    assert answer["opaque"] == ""


def test_a_secret_is_not_printed_compared_or_stored_in_the_open() -> None:
    secret = Secret(WEIRD)
    for shown in (repr(secret), str(secret), f"{secret}", repr([secret]), f"{secret!r}"):
        assert WEIRD not in shown
    assert secret == Secret(WEIRD)
    assert secret != Secret("other")
    assert secret != WEIRD
    assert not Secret("")
    with pytest.raises(TypeError):
        pickle.dumps(secret)


@pytest.mark.parametrize(
    "text", ["a" * 1_000_000, "a-" * 500_000, 'a="' * 300_000 + "\\", "a " * 500_000, "=" * 1_000_000]
)
def test_a_header_made_to_be_slow_is_read_at_once(text: str) -> None:
    """It comes from anybody who reaches our port, or from any camera, and the event loop waits for it: looked through
    anew from each of its letters it would take hours."""
    parse_parameters(text)
    parse_challenges([f"Digest {text}"])
