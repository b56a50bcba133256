"""One real server as a child process: a free port, a folder, a log, a limited wait until it answers, a clean end."""

import asyncio
import contextlib
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tools.go_programs import ServerUnavailableError

_START_LIMIT_S = 60.0
_STOP_LIMIT_S = 15.0
_START_ATTEMPTS = 3


class Server(ABC):
    """Started by ``with``, or ``async with`` (in a thread). All other methods block.

    Without ``data`` it keeps everything in a temporary folder, removed at the end. :meth:`stop` and :meth:`start` in
    between take it away and bring it back, same port, same data. Stands under one thread's control.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, data: Path | None = None) -> None:
        self._data = data
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = ExitStack()
        self.folder = Path()
        self.port = 0

    @abstractmethod
    def prepare(self) -> None:
        """Whatever has to be there before the first start."""

    @abstractmethod
    def command(self) -> list[str]:
        """The server's command line, for :attr:`port` and :attr:`folder`."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it answers now. May raise ``OSError`` for no."""

    def environment(self) -> dict[str, str]:
        """Variables for the server beside its parent's."""
        return {}

    def user(self) -> str | None:
        """Whom to run as, if not as ourselves."""
        return None

    def defer(self, action: Callable[[], object]) -> None:
        """Do this when the server has ended for good."""
        self._ending.callback(action)

    @property
    def log_path(self) -> Path:
        """What the server has printed."""
        return self.folder / "log"

    @property
    def pid(self) -> int | None:
        """The running process."""
        return None if self._process is None else self._process.pid

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._ending.close)
            if self._data is None:
                self.folder = Path(tempfile.mkdtemp(prefix=f"sanhui-{self.name}-"))
                self.defer(lambda: shutil.rmtree(self.folder, ignore_errors=True))
            else:
                self.folder = self._data.absolute()
                self.folder.mkdir(parents=True, exist_ok=True)
            self.prepare()
            stack.callback(self.stop)
            self._start_on_free_port()
            self._ending = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ending, self._ending = self._ending, ExitStack()
        ending.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    def start(self) -> None:
        """Start again after :meth:`stop`, on the same port."""
        self._end_orphan()
        user = self.user()
        account = None if user is None else pwd.getpwnam(user)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd="/",
                env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A group of its own: Ctrl-C at the terminal stops Sanhui first, and its servers after.
                process_group=0,
                user=None if account is None else account.pw_uid,
                group=None if account is None else account.pw_gid,
                extra_groups=None if account is None else [],
            )
        self._pid_path.write_text(str(self._process.pid))
        try:
            wait_until(self._answers, _START_LIMIT_S, self.name)
        except ServerUnavailableError as error:
            self.stop()
            raise ServerUnavailableError(f"{error}\n{self.log_end()}") from None

    def stop(self) -> None:
        """End it as its manual says; by force if it does not end."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(self.stop_signal)
            try:
                process.wait(_STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        self._pid_path.unlink(missing_ok=True)

    @property
    def _pid_path(self) -> Path:
        return self.folder / "pid"

    def _end_orphan(self) -> None:
        """Whoever was killed without ending its server left it running on these data, under the pid noted there."""
        try:
            pid = int(self._pid_path.read_text())
        except (OSError, ValueError):
            return

        def runs() -> bool:
            with contextlib.suppress(OSError):
                # The number may belong to another process by now, whose command line names other data.
                return os.fsencode(self.data_folder) in Path(f"/proc/{pid}/cmdline").read_bytes()
            return False

        if runs():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, self.stop_signal)
            wait_until(lambda: not runs(), _STOP_LIMIT_S, f"the end of an older {self.name}")

    @property
    def data_folder(self) -> Path:
        """Where the server itself writes; its command line names it."""
        return self.folder

    def log_end(self) -> str:
        """The last lines it printed."""
        if not self.log_path.exists():
            return ""
        return self.log_path.read_bytes()[-3000:].decode(errors="replace")

    def _start_on_free_port(self) -> None:
        # Somebody else may take the port between our look and the server's bind: then look again.
        for attempt in range(1, _START_ATTEMPTS + 1):
            self.port = free_port()
            try:
                self.start()
            except ServerUnavailableError:
                if attempt == _START_ATTEMPTS or "in use" not in self.log_end():
                    raise
            else:
                return

    def _answers(self) -> bool:
        process = self._process
        if process is None or process.poll() is not None:
            raise ServerUnavailableError(f"{self.name} ended at once.")
        try:
            return self.is_ready()
        except OSError:
            return False


def wait_until(condition: Callable[[], bool], limit_s: float, what: str) -> None:
    """Ask until it is true. Raises ``ServerUnavailableError`` when ``limit_s`` seconds have passed."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise ServerUnavailableError(f"{what} does not answer within {limit_s:.0f} s.")
        time.sleep(0.05)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def read_credentials(folder: Path) -> dict[str, str]:
    """The server's ``access`` and ``secret``, made at its first start and kept with its data."""
    path = folder / "credentials.json"
    if not path.exists():
        # "@:/%" must be quoted in an address: who forgets it finds out here.
        fresh = {"access": secrets.token_hex(8), "secret": secrets.token_urlsafe(18) + "@:/%"}
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(fresh, file)
    credentials: dict[str, str] = json.loads(path.read_text())
    return credentials
