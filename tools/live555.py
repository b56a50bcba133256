"""live555, the RTSP library of VLC, for tests: built once from its sources and kept outside the tree.

The sources come from PyPI's ``liblivemedia``, which carries them whole. Its own binding has only a proxy server, so the
library is compiled here as it is, and with it programs of ours, ``tests/support/live555_*.cpp``. What is built lies in
``${XDG_CACHE_HOME:-~/.cache}/sanhui`` under names with their version; a program's also says which source it is of.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.go_programs import Report, ServerUnavailableError, cache_directory, locked, tell

PACKAGE = "liblivemedia"
VERSION = "1.0.5"
"""live555 of 2024-06-26."""
SHA256 = "564f65501ea5e823e5c53b1847ce3f41bd7b71ee2e9f3ba154a7e955817dfb48"
PROGRAMS = ("player", "camera")
"""live555 as a client, and as a server."""

_SOURCES = Path(__file__).resolve().parent.parent / "tests" / "support"
_PARTS = ("UsageEnvironment", "BasicUsageEnvironment", "groupsock", "liveMedia")
_LIBRARY = "liblive555.a"
# Without OpenSSL: rtsps:// alone needs it.
_FLAGS = ("-O1", "-w", "-DSOCKLEN_T=socklen_t", "-DNO_OPENSSL=1")
_LIMIT_S = 600.0


def library_path() -> Path:
    """The folder of the built library and its headers."""
    return cache_directory() / f"live555-{VERSION}"


def built_program(name: str, report: Report = tell) -> Path:
    """One of :data:`PROGRAMS`, built first if need be. Others who want it at the same time wait for the one build.

    Raises ``ServerUnavailableError`` if there is no C++ compiler, or with the end of what failed.
    """
    source = _SOURCES / f"live555_{name}.cpp"
    version = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    program = cache_directory() / "bin" / f"live555-{name}-{VERSION}-{version}"
    if os.access(program, os.X_OK):
        return program
    if shutil.which("g++") is None:
        raise ServerUnavailableError("There is no C++ compiler here. One command helps: apt-get install g++")
    program.parent.mkdir(parents=True, exist_ok=True)
    with locked(program.parent / "live555.lock", "live555", report):
        if not os.access(program, os.X_OK):
            library = _library(report)
            with tempfile.TemporaryDirectory(dir=program.parent) as folder:
                made = Path(folder) / name
                includes = [f"-isystem{library / part / 'include'}" for part in _PARTS]
                _run("g++", "-std=c++20", "-O1", *includes, str(source), str(library / _LIBRARY), "-o", str(made))
                os.replace(made, program)
    return program


def _library(report: Report) -> Path:
    target = library_path()
    if (target / _LIBRARY).exists():
        return target
    report(f"Building live555 ({PACKAGE} {VERSION}): once, half a minute")
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=cache_directory()) as folder:
        sources = _unpacked(Path(folder))
        objects = Path(folder) / "objects"
        objects.mkdir()
        files = [path for part in _PARTS for path in sorted((sources / part).glob("*.c*")) if path.suffix != ".new"]
        includes = [f"-I{sources / part / 'include'}" for part in _PARTS]

        def compile_one(source: Path) -> str:
            made = objects / f"{source.parent.name}-{source.name}.o"
            language = ("-std=c++20",) if source.suffix == ".cpp" else ()
            _run("gcc", *language, *_FLAGS, *includes, "-c", str(source), "-o", str(made))
            return str(made)

        with ThreadPoolExecutor(os.cpu_count()) as executor:
            made = list(executor.map(compile_one, files))
        _run("ar", "rcs", str(sources / _LIBRARY), *made)
        os.replace(sources, target)
    return target


def _unpacked(folder: Path) -> Path:
    """The sources, with their hash checked, in a folder of their own."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")
    _run(
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--no-build-isolation", "--no-binary", PACKAGE, "--require-hashes", "-r", str(wanted), "-d", str(folder),
    )  # fmt: skip
    _run("tar", "-xzf", str(folder / f"{PACKAGE}-{VERSION}.tar.gz"), "-C", str(folder))
    return folder / f"{PACKAGE}-{VERSION}"


def _run(*command: str) -> None:
    finished = _finished(command)
    if finished.returncode != 0:
        said = (finished.stdout + finished.stderr).decode(errors="replace")[-1500:]
        raise ServerUnavailableError(f"live555 could not be built: {' '.join(command[:3])} …\n{said}")


def _finished(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise ServerUnavailableError(f"The build of live555 does not end: {command[0]}") from None
