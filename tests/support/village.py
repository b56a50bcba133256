"""Village cameras as a process of their own, which can be killed and come back on the same port."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue

from tests.support.ports import free_port

START_S = 120.0
CAMERA_USER = "admin"


@dataclass
class Village:
    """``python -m streaming.simulator``: ``count`` cameras (the kinds of :data:`streaming.simulator.KINDS`, in turn).

    With a ``password`` they ask for a log-in as :data:`CAMERA_USER`. What it says on stderr is in
    ``folder / "cameras.log"``.
    """

    folder: Path
    count: int = 1
    password: str = ""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def address(self, number: int = 0) -> str:
        """RTSP address of a camera, without credentials."""
        return f"rtsp://127.0.0.1:{self.port}/camera/{number + 1}"

    async def start(self) -> None:
        """Start it and wait until every camera can be reached."""
        self.folder.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(self._start)

    def _start(self) -> None:
        login = ["--user", CAMERA_USER] if self.password else []
        log_path = self.folder / "cameras.log"
        with log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "streaming.simulator", "--with-parent",
                    "--port", str(self.port), "--count", str(self.count), *login,
                ],
                env={**os.environ, "SIMULATOR_PASSWORD": self.password},
                stdout=subprocess.PIPE,
                stderr=log,
            )  # fmt: skip
        lines: Queue[bytes] = Queue()
        threading.Thread(target=_forward, args=(self.process, lines), daemon=True).start()
        for _ in range(self.count):
            try:
                line = lines.get(timeout=START_S)
            except Empty:
                line = b""
            if not line:
                raise AssertionError(f"the cameras did not start:\n{log_path.read_text()[-2000:]}")
            json.loads(line)

    async def kill(self) -> None:
        """kill -9: no good-bye to anybody."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(self.process.wait)

    async def stop(self) -> None:
        """SIGTERM. Raises TimeoutExpired if it takes more than 15 s."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            await asyncio.to_thread(self.process.wait, 15)


def _forward(process: subprocess.Popen[bytes], lines: "Queue[bytes]") -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.put(line)
    lines.put(b"")


@asynccontextmanager
async def running_village(folder: Path, count: int = 1, password: str = "") -> AsyncIterator[Village]:
    """Cameras that are stopped at the end, however the test ends."""
    village = Village(folder, count, password)
    try:
        await village.start()
        yield village
    finally:
        await village.stop()
