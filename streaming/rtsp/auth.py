"""Log-in over RTSP: Basic (RFC 7617) and Digest with MD5 or SHA-256 (RFC 2617, RFC 7616), for client and server.

A camera's challenge may change realm and nonce with every answer. Realm and nonce may be any bytes; they travel as
surrogate escapes and are hashed as they came. User name and password are hashed in UTF-8.
"""

import base64
import binascii
import contextlib
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from media.clock import Clock
from media.unit import NS_PER_S
from streaming.secret import Secret

# A name begins where no letter stands before it, and gives none back: else a long word is looked through from each of
# its letters, and whoever sends one holds the event loop up for minutes.
_PARAMETER = re.compile(r'(?<![A-Za-z0-9_-])([A-Za-z0-9_-]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s,]*+))')
_SCHEME = re.compile(r"\s*(Basic|Digest)\b", re.IGNORECASE)
_HASHES: Mapping[str, Callable[[bytes], "hashlib._Hash"]] = {
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False),
    "SHA-256": hashlib.sha256,
}


@dataclass(frozen=True, slots=True)
class Challenge:
    """One WWW-Authenticate challenge. ``algorithm`` is MD5 or SHA-256; ``session`` is set for the -sess variants;
    ``qop`` tells whether ``auth`` is offered."""

    scheme: str
    realm: str
    nonce: str = ""
    opaque: str | None = None
    algorithm: str = "MD5"
    algorithm_as_sent: str | None = None
    session: bool = False
    qop: bool = False
    stale: bool = False


def parse_challenges(values: list[str]) -> list[Challenge]:
    """The challenges in WWW-Authenticate values that can be answered, the strongest first."""
    found: list[Challenge] = []
    for value in values:
        found.extend(_split_challenges(value))
    return sorted(found, key=_strength, reverse=True)


def _split_challenges(value: str) -> list[Challenge]:
    starts = list(re.finditer(r"(?:^|,)\s*(Basic|Digest)\b", value, re.IGNORECASE))
    challenges = []
    for index, match in enumerate(starts):
        stop = starts[index + 1].start() if index + 1 < len(starts) else len(value)
        challenge = _challenge(match[1].capitalize(), parse_parameters(value[match.end() : stop]))
        if challenge is not None:
            challenges.append(challenge)
    return challenges


def _challenge(scheme: str, parameters: Mapping[str, str]) -> Challenge | None:
    realm = parameters.get("realm", "")
    if scheme == "Basic":
        return Challenge(scheme, realm)
    sent = parameters.get("algorithm")
    algorithm = (sent or "MD5").upper()
    session = algorithm.endswith("-SESS")
    algorithm = algorithm.removesuffix("-SESS")
    if algorithm not in _HASHES or "nonce" not in parameters:
        return None
    offered = [item.strip().lower() for item in parameters.get("qop", "").split(",") if item.strip()]
    if offered and "auth" not in offered:
        return None
    return Challenge(
        scheme=scheme,
        realm=realm,
        nonce=parameters["nonce"],
        opaque=parameters.get("opaque"),
        algorithm=algorithm,
        algorithm_as_sent=sent,
        session=session,
        qop="auth" in offered,
        stale=parameters.get("stale", "").lower() == "true",
    )


def _strength(challenge: Challenge) -> int:
    if challenge.scheme == "Basic":
        return 0
    return 2 if challenge.algorithm == "SHA-256" else 1


def parse_parameters(text: str) -> dict[str, str]:
    """``name=value`` pairs, quoted or not, names in lower case, the first of a name kept."""
    parameters: dict[str, str] = {}
    for match in _PARAMETER.finditer(text):
        value = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
        parameters.setdefault(match[1].lower(), value)
    return parameters


class ClientAuthenticator:
    """Answers a camera's challenges for one connection. Owned by that connection."""

    def __init__(self, username: str, password: Secret, *, allow_basic: bool = True) -> None:
        self._username = username
        self._password = password
        self._allow_basic = allow_basic
        self._challenge: Challenge | None = None
        self._count = 0

    def challenged(self, www_authenticate: list[str]) -> bool:
        """Take in the challenges of a 401. False if none of them can be answered."""
        for challenge in parse_challenges(www_authenticate):
            if challenge.scheme == "Basic" and not self._allow_basic:
                continue
            self._challenge = challenge
            self._count = 0
            return True
        return False

    def authorization(self, method: str, uri: str) -> str | None:
        """The Authorization value for a request, or None before any challenge came."""
        challenge = self._challenge
        if challenge is None:
            return None
        if challenge.scheme == "Basic":
            pair = f"{self._username}:{self._password.reveal()}"
            return "Basic " + base64.b64encode(_octets(pair)).decode("ascii")
        self._count += 1
        cnonce = secrets.token_hex(8)
        count = f"{self._count:08x}"
        response = digest_response(
            challenge,
            username=self._username,
            password=self._password,
            method=method,
            uri=uri,
            cnonce=cnonce,
            count=count,
        )
        fields = [
            f"username={_quoted(self._username)}",
            f"realm={_quoted(challenge.realm)}",
            f"nonce={_quoted(challenge.nonce)}",
            f"uri={_quoted(uri)}",
            f'response="{response}"',
        ]
        if challenge.algorithm_as_sent is not None:
            fields.append(f"algorithm={challenge.algorithm_as_sent}")
        if challenge.opaque is not None:
            fields.append(f"opaque={_quoted(challenge.opaque)}")
        if challenge.qop:
            fields.append(f'qop=auth, nc={count}, cnonce="{cnonce}"')
        elif challenge.session:
            fields.append(f'cnonce="{cnonce}"')
        return "Digest " + ", ".join(fields)


def digest_response(
    challenge: Challenge, *, username: str, password: Secret, method: str, uri: str, cnonce: str, count: str
) -> str:
    """The ``response`` of RFC 7616, 3.4.1, or of RFC 2069 where no qop is offered."""

    def hashed(*parts: str) -> str:
        return _HASHES[challenge.algorithm](_octets(":".join(parts))).hexdigest()

    first = hashed(username, challenge.realm, password.reveal())
    if challenge.session:
        first = hashed(first, challenge.nonce, cnonce)
    second = hashed(method, uri)
    if challenge.qop:
        return hashed(first, challenge.nonce, count, cnonce, "auth", second)
    return hashed(first, challenge.nonce, second)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a server makes of an Authorization. ``user`` is None if refused; ``stale`` asks for a new try with a new
    nonce, the password being right."""

    user: str | None
    stale: bool = False


class ServerAuthenticator:
    """Challenges clients and checks their answers.

    ``password_of`` gives the password of a user, None for an unknown one. Nonces are stateless: a time and its MAC,
    good for ``nonce_lifetime_s``. The key lives as long as this object, so a restart makes every nonce stale.
    """

    def __init__(
        self,
        realm: str,
        password_of: Callable[[str], Secret | None],
        clock: Clock,
        *,
        algorithms: tuple[str, ...] = ("SHA-256", "MD5"),
        allow_basic: bool = True,
        nonce_lifetime_s: int = 300,
    ) -> None:
        unknown = set(algorithms) - set(_HASHES)
        if unknown:
            raise ValueError(f"digest algorithms not known: {sorted(unknown)}")
        self._realm = realm
        self._password_of = password_of
        self._clock = clock
        self._algorithms = algorithms
        self._allow_basic = allow_basic
        self._nonce_lifetime_ns = nonce_lifetime_s * NS_PER_S
        self._key = secrets.token_bytes(32)

    def challenges(self, *, stale: bool = False) -> list[str]:
        """The WWW-Authenticate values of a 401: MD5, SHA-256, and MD5 once more.

        Of the clients that know MD5 alone, live555 (VLC) looks at the first Digest and ffmpeg at the last.
        """
        nonce = self._nonce(self._clock.monotonic_ns())
        tail = ", stale=true" if stale else ""
        realm = _quoted(self._realm)
        ordered = sorted(self._algorithms)
        if len(ordered) > 1:
            ordered.append(ordered[0])
        values = [
            f'Digest realm={realm}, nonce="{nonce}", algorithm={algorithm}, qop="auth"{tail}' for algorithm in ordered
        ]
        if self._allow_basic:
            values.append(f"Basic realm={realm}")
        return values

    def check(self, method: str, url: str, authorization: str | None) -> Verdict:
        """Judge the Authorization of a request for ``url``. Comparisons take the same time for right and wrong."""
        match = _SCHEME.match(authorization or "")
        if authorization is None or match is None:
            return Verdict(None)
        rest = authorization[match.end() :]
        if match[1].lower() == "basic":
            return self._check_basic(rest)
        return self._check_digest(method, url, parse_parameters(rest))

    def standing(self, user: str, url: str) -> Secret | None:
        """The password under which ``user`` may have ``url`` at this moment; None if that is no longer so. A session
        is ended when this changes."""
        return self._password_of(user)

    def looking(self, user: str, url: str) -> contextlib.AbstractContextManager[None]:
        """Open for as long as ``user`` is being sent the live stream of ``url``: for whoever counts viewers."""
        return contextlib.nullcontext()

    def _check_basic(self, rest: str) -> Verdict:
        if not self._allow_basic:
            return Verdict(None)
        try:
            pair = base64.b64decode(rest.strip(), validate=True).decode("utf-8", "surrogateescape")
        except (binascii.Error, ValueError):
            return Verdict(None)
        username, _, password = pair.partition(":")
        expected = self._password_of(username)
        right = Secret(password) == (expected if expected is not None else Secret(secrets.token_hex(16)))
        return Verdict(username if right and expected is not None else None)

    def _check_digest(self, method: str, url: str, answer: Mapping[str, str]) -> Verdict:
        algorithm = answer.get("algorithm", "MD5").upper()
        nonce = answer.get("nonce", "")
        uri = answer.get("uri", "")
        issued_ns = self._issued_ns(nonce)
        if algorithm not in self._algorithms or issued_ns is None or not _same_resource(uri, url):
            return Verdict(None)
        qop = "qop" in answer
        if qop and answer["qop"].lower() != "auth":
            return Verdict(None)
        username = answer.get("username", "")
        expected = self._password_of(username)
        challenge = Challenge("Digest", self._realm, nonce, algorithm=algorithm, qop=qop)
        response = digest_response(
            challenge,
            username=username,
            password=expected if expected is not None else Secret(secrets.token_hex(16)),
            method=method,
            uri=uri,
            cnonce=answer.get("cnonce", ""),
            count=answer.get("nc", ""),
        )
        right = hmac.compare_digest(_octets(response), _octets(answer.get("response", "").lower()))
        if not right or expected is None:
            return Verdict(None)
        if self._clock.monotonic_ns() - issued_ns > self._nonce_lifetime_ns:
            return Verdict(None, stale=True)
        return Verdict(username)

    def _nonce(self, issued_ns: int) -> str:
        return f"{issued_ns:x}.{self._mac(issued_ns)}"

    def _mac(self, issued_ns: int) -> str:
        return hmac.new(self._key, str(issued_ns).encode("ascii"), hashlib.sha256).hexdigest()[:32]

    def _issued_ns(self, nonce: str) -> int | None:
        issued, _, mac = nonce.partition(".")
        if not re.fullmatch(r"[0-9a-f]{1,20}", issued):
            return None
        issued_ns = int(issued, 16)
        return issued_ns if hmac.compare_digest(_octets(mac), _octets(self._mac(issued_ns))) else None


def _same_resource(claimed: str, url: str) -> bool:
    """Whether the uri that was hashed belongs to the request. Clients hash the stream's URL for a track of it, and
    leave host or query out."""
    if claimed == url:
        return True
    try:
        claimed_path = urlsplit(claimed).path.rstrip("/")
        path = urlsplit(url).path.rstrip("/")
    except ValueError:
        return False
    return path == claimed_path or (claimed_path != "" and path.startswith(claimed_path + "/"))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
