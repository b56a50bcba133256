"""Camera URLs as people paste them, and the guard that keeps the service from being sent where it must not go (SSRF).

A camera is an address somebody typed in. Before anything connects, the address is resolved here, every result is
judged, and the connection is made to the very address that was judged, so a name that changes its mind in between
(DNS rebinding) gains nothing. Redirects pass through the same guard.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote, unquote, urljoin, urlsplit

from streaming.errors import AddressRefusedError, AddressUnresolvedError, UrlInvalidError
from streaming.secret import Secret

DEFAULT_RTSP_PORT = 554
DEFAULT_RTSPS_PORT = 322
MAX_URL_LENGTH = 2048
MAX_ADDRESSES = 4

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Awaitable[list[str]]]

_HOST_AND_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:@/?#\[\]]+)(?::\d{1,5})?")
_PASSWORD_PARAMETER = re.compile(r"(?i)((?:^|(?<=[?&/;_]))(?:password|passwd|pass|pwd|psw|token|auth))=[^&/;?#]*")
HIDDEN = "***"
"""What :func:`redacted` shows in the place of a password."""
# Services of clouds that hand out credentials, outside of the link-local ranges.
_METADATA = frozenset(ipaddress.ip_address(text) for text in ("100.100.100.200", "fd00:ec2::254", "168.63.129.16"))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class RtspUrl:
    """A checked URL without credentials. ``host`` without brackets, ``port`` always set."""

    url: str
    host: str
    port: int
    tls: bool = False

    @property
    def path(self) -> str:
        """Path and query."""
        parts = urlsplit(self.url)
        return parts.path + (f"?{parts.query}" if parts.query else "")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a person pasted inside a URL, percent-decoded."""

    username: str
    password: Secret


def split_credentials(url: str) -> tuple[str, Credentials | None]:
    """Part a pasted URL into one without credentials and the credentials, percent-decoded as UTF-8.

    A password may hold ``@ : / ? #`` unescaped as long as the URL read by the rules makes no sense: then the last
    ``@`` parts credentials from the host. Nothing is checked beyond that; :func:`parse_rtsp_url` does.
    """
    scheme, separator, rest = url.strip().partition("://")
    if not separator:
        return url.strip(), None
    match = re.search(r"[/?#]", rest)
    end = match.start() if match else len(rest)
    at = rest.rfind("@", 0, end)
    readable = _HOST_AND_PORT.fullmatch(rest, at + 1, end) is not None
    if not readable:
        at = rest.rfind("@")
    if at < 0:
        return f"{scheme}://{rest}", None
    username, _, password = rest[:at].partition(":")
    return f"{scheme}://{rest[at + 1 :]}", Credentials(unquote(username), Secret(unquote(password)))


def joined(base_url: str, reference: str) -> str:
    """What a camera means by a reference in an answer (RFC 3986, 5.2). Raises UrlInvalidError with ``reason`` host."""
    try:
        return urljoin(base_url, reference)
    except ValueError:
        raise UrlInvalidError("URL cannot be read", reason="host") from None


def parse_rtsp_url(url: str) -> RtspUrl:
    """Check a URL without credentials and bring it into ASCII. Raises UrlInvalidError with ``reason``: length,
    characters, scheme, credentials, host, port."""
    if not url or len(url) > MAX_URL_LENGTH:
        raise UrlInvalidError("URL empty or too long", reason="length")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise UrlInvalidError("URL with spaces or control characters", reason="characters")
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port
    except ValueError as error:
        raise UrlInvalidError("URL cannot be read", reason="port" if "ort" in str(error) else "host") from None
    if parts.scheme not in ("rtsp", "rtsps"):
        raise UrlInvalidError("not an rtsp:// URL", reason="scheme")
    if parts.username is not None or parts.password is not None:
        raise UrlInvalidError("credentials inside the URL", reason="credentials")
    if not host:
        raise UrlInvalidError("URL without a host", reason="host")
    if port == 0:
        raise UrlInvalidError("port 0", reason="port")
    try:
        ascii_host = host.encode("ascii" if ":" in host else "idna").decode("ascii")
    except UnicodeError:
        raise UrlInvalidError("host name cannot be written in ASCII", reason="host") from None
    if any(character.isspace() or not character.isprintable() for character in ascii_host):
        # Some signs stand for a space and something else (Unicode NFKC).
        raise UrlInvalidError("host name with spaces", reason="host")
    authority = f"[{ascii_host}]" if ":" in ascii_host else ascii_host
    authority += f":{port}" if port is not None else ""
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~-._")
    query = f"?{quote(parts.query, safe='/?%:@!$&()*+,;=~-._')}" if parts.query else ""
    tls = parts.scheme == "rtsps"
    usual = DEFAULT_RTSPS_PORT if tls else DEFAULT_RTSP_PORT
    ascii_url = f"{parts.scheme}://{authority}{path}{query}"
    if len(ascii_url) > MAX_URL_LENGTH:
        # Or what is taken now would be refused when it is read again.
        raise UrlInvalidError("URL too long in ASCII", reason="length")
    return RtspUrl(ascii_url, ascii_host, port or usual, tls)


def redacted(url: str) -> str:
    """A URL, or part of one, fit to be shown: some makers want the password among the parameters
    (``/user=admin&password=…&channel=1``), and some people paste it in front of the host."""
    clean, _ = split_credentials(url)
    return _PASSWORD_PARAMETER.sub(rf"\1={HIDDEN}", clean)


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Where cameras may live. Private networks are where they do, so those are allowed.

    ``own_ports`` are the TCP ports of this service and its servers: refused on every address of this machine.
    ``refused_networks`` are further networks (CIDR) the operator shuts.
    """

    allow_loopback: bool = False
    own_ports: frozenset[int] = frozenset()
    refused_networks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckedAddress:
    """An address that passed the guard; connect to this, not to the name."""

    ip: str
    port: int


async def resolve_with_system(host: str, port: int) -> list[str]:
    """Addresses of a name from the system's resolver. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class AddressGuard:
    """Resolves camera addresses and refuses the dangerous ones."""

    def __init__(
        self, policy: AddressPolicy, resolve: Resolver = resolve_with_system, *, resolve_timeout_s: float = 5.0
    ) -> None:
        self._policy = policy
        self._resolve = resolve
        self._timeout_s = resolve_timeout_s
        self._refused = tuple(ipaddress.ip_network(text) for text in policy.refused_networks)

    async def addresses(self, host: str, port: int) -> list[CheckedAddress]:
        """The addresses of ``host`` one may connect to, at most four, in the resolver's order.

        Raises AddressUnresolvedError; AddressRefusedError if not one is allowed.
        """
        try:
            literals = [str(ipaddress.ip_address(host))]
        except ValueError:
            literals = await self._look_up(host, port)
        allowed: list[CheckedAddress] = []
        refused: AddressRefusedError | None = None
        for text in dict.fromkeys(literals):
            try:
                self.check(host, text, port)
            except AddressRefusedError as error:
                refused = refused or error
            else:
                allowed.append(CheckedAddress(text, port))
        if not allowed:
            raise refused or AddressUnresolvedError("host has no address", host=host)
        return allowed[:MAX_ADDRESSES]

    async def _look_up(self, host: str, port: int) -> list[str]:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._resolve(host, port)
        except (OSError, UnicodeError, TimeoutError):
            raise AddressUnresolvedError("host has no address", host=host) from None

    def check(self, host: str, address: str, port: int) -> None:
        """Judge one address. Raises AddressRefusedError."""
        ip = _unwrap(ipaddress.ip_address(address.partition("%")[0]))
        kind = self._kind_refused(ip, port)
        if kind is not None:
            raise AddressRefusedError("address refused", host=host, address=str(ip), kind=kind)

    def _kind_refused(self, ip: IpAddress, port: int) -> str | None:
        if ip in _METADATA:
            return "metadata"
        if ip.is_unspecified:
            return "unspecified"
        if ip.is_link_local:
            return "link-local"
        if ip.is_multicast:
            return "multicast"
        if ip.is_loopback and not self._policy.allow_loopback:
            return "loopback"
        if ip.is_reserved and not ip.is_loopback:
            return "reserved"
        if any(ip in network for network in self._refused if network.version == ip.version):
            return "refused-network"
        if port in self._policy.own_ports and (ip.is_loopback or _is_ours(ip)):
            return "own-port"
        return None


def _unwrap(ip: IpAddress) -> IpAddress:
    """The IPv4 address inside an IPv6 one: mapped (RFC 4291), 6to4 (RFC 3056), NAT64 (RFC 6052)."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return ip.ipv4_mapped
        if ip.sixtofour is not None:
            return ip.sixtofour
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


def _is_ours(ip: IpAddress) -> bool:
    """Whether this machine has the address: only then can a socket be bound to it."""
    family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(ip), 0))
    except OSError:
        return False
    return True
