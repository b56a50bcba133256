"""coturn as a TURN server of the test's own, in the foreground, with log-ins by a shared secret."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.ports import free_port
from tests.support.servers import cannot_run

SECRET = "turn-secret"
_START_S = 20


@contextlib.contextmanager
def turn_server(address: str, folder: Path) -> Iterator[str]:
    """A running one that listens on ``address`` by TCP; its URL."""
    program = shutil.which("turnserver")
    if program is None:
        cannot_run("needs coturn: apt-get install coturn")
        raise AssertionError
    port = free_port()
    command = [program, "-n", "--listening-ip", address, "--relay-ip", address, "--listening-port", str(port)]
    command += ["--no-tls", "--no-dtls", "--no-udp", "--no-cli", "--realm", "sanhui", "--use-auth-secret"]
    command += ["--static-auth-secret", SECRET, "--log-file", "stdout", "--pidfile", str(folder / "turn.pid")]
    command += ["--userdb", str(folder / "turn.db")]
    with (folder / "turn.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        _answers(address, port)
        yield f"turn:{address}:{port}?transport=tcp"
    finally:
        process.terminate()
        process.wait(20)


def _answers(address: str, port: int) -> None:
    until = time.monotonic() + _START_S
    with socket.socket() as caller:
        while caller.connect_ex((address, port)):
            if time.monotonic() > until:
                raise TimeoutError("the TURN server does not answer")
            time.sleep(0.05)
