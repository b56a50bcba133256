"""Real servers beside Sanhui, without installing any: PostgreSQL, MinIO, VersityGW.

As a program:

    python -m tools.servers --prepare
        builds what the tests need (once, cached), so that no test waits for a compiler
    python -m tools.servers --store minio --database postgres -- sanhui demo
        starts them on free loopback ports, runs the command with SANHUI_DATABASE_URL, SANHUI_STORE and SANHUI_S3_*
        set, and stops them when it ends. Without a command it prints the settings and waits for Ctrl-C.
        --data FOLDER keeps their data there for the next time; else it goes with them.

As a library: ``with MinioServer() as server``, ``with PostgresServer() as server``: see :mod:`tools.server_process`.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

if __package__ in (None, ""):  # run as a file: python tools/servers.py
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.go_programs import MINIO, VERSITYGW, ServerUnavailableError, built, tell
from tools.live555 import PROGRAMS, built_program
from tools.postgres import PostgresServer
from tools.s3_servers import MinioServer, S3Server, VersityServer

STORES = ("directory", "minio", "versitygw")
DATABASES = ("sqlite", "postgres")


def s3_settings(server: S3Server) -> dict[str, str]:
    """Settings of Sanhui for this store."""
    return {
        "SANHUI_STORE": "s3",
        "SANHUI_S3_ENDPOINT": server.endpoint,
        "SANHUI_S3_ACCESS_KEY": server.access_key,
        "SANHUI_S3_SECRET_KEY": server.secret_key,
    }


def start_servers(stack: ExitStack, store: str, database: str, data: Path | None = None) -> dict[str, str]:
    """Start what is asked for; it stops with ``stack``. The settings of Sanhui that name it.

    Raises ``ServerUnavailableError``.
    """
    settings: dict[str, str] = {}
    if store != "directory":
        kind = MinioServer if store == "minio" else VersityServer
        tell(f"Starting {kind.name}")
        settings |= s3_settings(stack.enter_context(kind(data and data / kind.name)))
    if database == "postgres":
        tell("Starting PostgreSQL")
        server = stack.enter_context(PostgresServer(data and data / "postgresql"))
        settings["SANHUI_DATABASE_URL"] = server.create_database("sanhui")
    return settings


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(prog="python -m tools.servers", description="Real servers beside Sanhui.")
    parser.add_argument("--prepare", action="store_true", help="build what is missing, start nothing")
    parser.add_argument("--store", choices=STORES, default="directory")
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--data", type=Path, help="keep the servers' data in this folder")
    parser.add_argument("command", nargs="*", help="what to run with the settings in its environment")
    options = parser.parse_args(arguments)
    try:
        if options.prepare:
            for program in (VERSITYGW, MINIO):
                built(program)
            _prepare_live555()
            return 0
        with ExitStack() as stack:
            settings = start_servers(stack, options.store, options.database, options.data)
            return _run(options.command, settings) if options.command else _wait(settings)
    except ServerUnavailableError as error:
        tell(str(error))
        return 1


def _prepare_live555() -> None:
    """Without it a few tests are skipped, or fail in CI; everything else goes on."""
    try:
        for name in PROGRAMS:
            built_program(name)
    except ServerUnavailableError as error:
        tell(str(error))


def _run(command: list[str], settings: dict[str, str]) -> int:
    """Run the command to its end. Ctrl-C reaches it from the terminal itself; a SIGTERM is handed on."""
    process = subprocess.Popen(command, env={**os.environ, **settings})
    previous = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: process.terminate()),
    }
    try:
        code = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code


def _wait(settings: dict[str, str]) -> int:
    for name, value in settings.items():
        print(f"export {name}={shlex.quote(value)}", flush=True)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
