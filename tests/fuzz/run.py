"""``make fuzz``: coverage-guided fuzzing of every target with atheris, each in a process of its own.

    python -m tests.fuzz.run [TARGET …] [--runs N] [--minimise]

Starts from ``tests/fuzz/corpus/TARGET`` and the target's own seeds. What it finds on the way is kept outside the
repository, in ``--work``; ``--minimise`` then puts into the corpus few and short inputs that reach the same code. An
input that is a finding is written to ``--work`` and named; the exit status is 1.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.fuzz.harness import Target

TraceFunction = Callable[[FrameType, str, Any], Any]

CORPUS = Path(__file__).parent / "corpus"
_PACKAGES = ["media", "streaming", "recorder", "web"]
_RSS_MB = 1024
"""Most that one process may take; the interpreter, PyAV and the instrumented modules need about 200."""
_ROOT = Path(__file__).parents[2]
_OURS = tuple(f"{_ROOT}/{package}/" for package in _PACKAGES)


def _child(name: str, arguments: list[str]) -> None:
    """One target, in this process; libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=_PACKAGES):
        from tests.fuzz.targets import TARGETS
    from tests.fuzz.harness import check

    target = TARGETS[name]
    atheris.Setup([sys.argv[0], *arguments], lambda data: check(target, data))
    atheris.Fuzz()


def _prepare(name: str, work: Path) -> tuple[int, Path]:
    """Seeds and dictionary in ``work``; the longest input and the dictionary's path."""
    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    found = work / name / "found"
    found.mkdir(parents=True, exist_ok=True)
    (CORPUS / name).mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (found / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    words = work / name / "words.dict"
    lines = ['"' + "".join(f"\\x{octet:02x}" for octet in word) + '"\n' for word in target.words]
    words.write_text("".join(lines), encoding="ascii")
    return target.max_len, words


def _fuzz(name: str, work: Path, runs: int) -> dict[str, object]:
    max_len, words = _prepare(name, work)
    arguments = [
        str(work / name / "found"),
        str(CORPUS / name),
        f"-runs={runs}",
        f"-max_len={max_len}",
        f"-rss_limit_mb={_RSS_MB}",
        "-timeout=10",
        "-print_final_stats=1",
        f"-artifact_prefix={work / name}/finding-",
    ]
    if words.stat().st_size:
        arguments.append(f"-dict={words}")
    start = time.monotonic()
    done = _python(name, arguments)
    log = work / name / "log.txt"
    log.write_text(done.stdout, encoding="utf-8", errors="replace")
    ran, peak = (
        re.findall(rf"stat::{stat}:\s*(\d+)", done.stdout) for stat in ("number_of_executed_units", "peak_rss_mb")
    )
    covered = re.findall(r"cov: (\d+)", done.stdout)
    findings = sorted(path.name for path in (work / name).glob("finding-*"))
    result: dict[str, object] = {
        "target": name,
        "inputs": int(ran[-1]) if ran else 0,
        "seconds": round(time.monotonic() - start),
        "edges": int(covered[-1]) if covered else 0,
        "peak_mb": int(peak[-1]) if peak else 0,
        "findings": findings if done.returncode else [],
    }
    if done.returncode:
        print(done.stdout[-3000:], file=sys.stderr)
        print(f"{name}: a finding; see {work / name}", file=sys.stderr)
    return result


def _minimise(name: str, work: Path) -> None:
    """Put into the corpus the shortest inputs that together take every step from line to line that all of them take."""
    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    folders = (CORPUS / name, work / name / "found")
    inputs = {path.read_bytes() for folder in folders if folder.is_dir() for path in folder.iterdir()}
    kept: list[bytes] = []
    known: set[tuple[str, int, int]] = set()
    for data in sorted(inputs, key=lambda data: (len(data), data)):
        steps = _steps(target, data)
        if not steps <= known:
            known |= steps
            kept.append(data)
    (CORPUS / name).mkdir(parents=True, exist_ok=True)
    for path in (CORPUS / name).iterdir():
        path.unlink()
    for data in kept:
        (CORPUS / name / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    print(f"{name}: {len(kept)} of {len(inputs)} inputs, {sum(map(len, kept))} bytes, {len(known)} steps", flush=True)


def _steps(target: "Target", data: bytes) -> set[tuple[str, int, int]]:
    """From which line to which line of our own code an input leads."""
    found: set[tuple[str, int, int]] = set()
    last: dict[FrameType, int] = {}

    def local(frame: FrameType, event: str, argument: object) -> "TraceFunction | None":
        if event == "line":
            found.add((frame.f_code.co_filename, last.get(frame, 0), frame.f_lineno))
            last[frame] = frame.f_lineno
        elif event == "return":
            last.pop(frame, None)
        return local

    def begin(frame: FrameType, event: str, argument: object) -> "TraceFunction | None":
        return local if frame.f_code.co_filename.startswith(_OURS) else None

    sys.settrace(begin)
    try:
        target.run(data)
    finally:
        sys.settrace(None)
    return found


def _python(name: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", "--child", name, *arguments],
        cwd=_ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def main() -> int:
    """Run what the command line asks for."""
    if sys.argv[1:2] == ["--child"]:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _child(sys.argv[2], sys.argv[3:])
        return 0
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="names; all if none is given")
    parser.add_argument("--runs", type=int, default=100_000, help="inputs for each target")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "sanhui-fuzz")
    parser.add_argument("--minimise", action="store_true", help="bring the corpus up to date afterwards")
    parser.add_argument("--json", action="store_true", help="one object a target")
    options = parser.parse_args()
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    failed = False
    for name in options.targets or TARGETS:
        result = _fuzz(name, options.work, options.runs)
        failed = failed or bool(result["findings"]) or not result["inputs"]
        if options.json:
            print(json.dumps(result), flush=True)
        else:
            print("  ".join(f"{key} {value}" for key, value in result.items()), flush=True)
        if options.minimise:
            _minimise(name, options.work)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
