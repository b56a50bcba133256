"""Someone who asks a running service over HTTP and looks at the clock."""

import http.client
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.table import Table

MIB = 1024 * 1024


@dataclass
class Viewer:
    """One kept-alive connection of someone who is logged in."""

    port: int
    _cookie: str = ""
    _connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def log_in(self, username: str, password: str) -> None:
        """With name and password. Raises RuntimeError if refused."""
        body = json.dumps({"username": username, "password": password})
        self._connection.request("POST", "/api/v1/session", body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"log-in: {answer.status} {text!r}")
        cookies = answer.headers.get_all("Set-Cookie") or []
        self._cookie = "; ".join(cookie.split(";", 1)[0] for cookie in cookies)

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[float, float, bytes]:
        """Milliseconds to the first byte and to the last, and the body. Raises RuntimeError for a problem."""
        began = time.perf_counter()
        self._connection.request("GET", path, headers={"Cookie": self._cookie, **(headers or {})})
        answer = self._connection.getresponse()
        first = answer.read(1)
        to_first = (time.perf_counter() - began) * 1000
        body = first + answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{path}: {answer.status} {body[:300]!r}")
        return to_first, (time.perf_counter() - began) * 1000, body

    def download(self, path: str) -> tuple[float, float, int]:
        """Seconds to the first byte, seconds after it, bytes."""
        began = time.perf_counter()
        self._connection.request("GET", path, headers={"Cookie": self._cookie})
        answer = self._connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")
        buffer = bytearray(MIB)
        size = answer.readinto(buffer)
        first = time.perf_counter()
        while count := answer.readinto(buffer):
            size += count
        if size != int(answer.headers["Content-Length"]):
            raise RuntimeError("the download broke off")
        return first - began, time.perf_counter() - first, size


def p95(values: Sequence[float]) -> float:
    """The value that one in twenty exceeds."""
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.95))]


def add_times(table: Table, what: str, bar: str, values: Sequence[float]) -> None:
    """One row of milliseconds."""
    table.add(what, bar, statistics.median(values), p95(values), max(values))
