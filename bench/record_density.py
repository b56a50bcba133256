"""CPU and memory per recorded camera: Sanhui with everything on, beside one `ffmpeg -c copy` process per camera.

    python bench/record_density.py [--cameras 20] [--seconds 60] [--json]

The cameras are one process of their own that serves the same 1080p25 2 Mb/s H.264 + G.711A loop under N addresses.
Ours: RTSP over TCP, fMP4, SHA-256, spool with fsync, object store (directory), rows (SQLite). The baseline writes
4-second Matroska segments and does nothing else. Both are measured in the same run, one after the other.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import imageio_ffmpeg

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.processes import Usage, measure
from bench.table import Table
from streaming.cameras import SupervisorSettings

USER, PASSWORD = "bench", "bench"
SETTLE_S = 8.0
MIB = 1024 * 1024


@contextmanager
def cameras(count: int) -> Iterator[list[str]]:
    """Serve ``count`` cameras from a process of its own; their addresses without log-in."""
    loop = Path(tempfile.gettempdir()) / "sanhui-bench-loop.bin"
    command = [sys.executable, "-m", "streaming.simulator", "--loop", str(loop), "--count", str(count)]
    command += ["--user", USER, "--password", PASSWORD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            urls = [str(json.loads(process.stdout.readline())["url"]) for _ in range(count)]
            yield urls
        finally:
            process.terminate()


def ours(urls: Sequence[str], seconds: float, read_interval_s: float) -> tuple[Usage, dict[str, float]]:
    """Usage of the recorder process, and what it says that it did."""
    command = [sys.executable, "-m", "bench.recording_subject", USER, PASSWORD, str(read_interval_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("".join(f"{url}\n" for url in urls) + "\n")
        process.stdin.flush()
        if process.stdout.readline().strip() != "recording":
            raise RuntimeError("the recorder did not start; see above")
        time.sleep(SETTLE_S)
        usage = measure([process.pid], seconds)
        process.stdin.close()
        return usage, json.loads(process.stdout.readline())


def baseline(urls: Sequence[str], seconds: float) -> Usage:
    """Usage of one ffmpeg process per camera."""
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    with tempfile.TemporaryDirectory(prefix="sanhui-bench-") as folder:
        processes = []
        try:
            for number, url in enumerate(urls):
                source = url.replace("rtsp://", f"rtsp://{USER}:{PASSWORD}@", 1)
                command = [ffmpeg, "-nostdin", "-loglevel", "error", "-rtsp_transport", "tcp", "-i", source]
                command += ["-c", "copy", "-f", "segment", "-segment_time", "4", f"{folder}/{number}-%05d.mkv"]
                processes.append(subprocess.Popen(command))
            time.sleep(SETTLE_S)
            return measure([process.pid for process in processes], seconds)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, nargs="+", default=[20], help="how many cameras; several make rows")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each is measured; two objects' worth")
    parser.add_argument(
        "--read-interval",
        type=float,
        default=SupervisorSettings().read_interval_s,
        help="how often the cameras' connections are read, in seconds; 0 whenever something comes",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()

    table = Table(
        "Recording 1080p25 2 Mb/s H.264 + G.711A, per camera",
        (
            "way",
            "cameras",
            "CPU, % of a core",
            "memory, MiB",
            "CPU, ratio to ffmpeg",
            "lost packets",
            "overflows, gaps",
            "loop delay p99, ms",
        ),
        notes=[
            "ours: RTSP, fMP4, SHA-256, spool with fsync, object store, rows; ffmpeg: 4 s Matroska files, no hash.",
            "CPU is the share of one core, per camera.",
            "Memory is unique set size at the end, divided by the cameras, interpreter included.",
        ],
    )
    for count in options.cameras:
        with cameras(count) as urls:
            usage, done = ours(urls, options.seconds, options.read_interval)
            if done["online"] != count:
                raise RuntimeError(f"only {done['online']} of {count} cameras were online: {done}")
            ffmpeg = baseline(urls, options.seconds)
        for way, figures in (("Sanhui", usage), ("ffmpeg -c copy", ffmpeg)):
            is_ours = figures is usage
            table.add(
                way,
                count,
                100 * figures.cpu_share / count,
                figures.memory / count / MIB,
                figures.cpu_share / ffmpeg.cpu_share,
                int(done["packets_lost"]) if is_ours else "-",
                int(done["overflows"] + done["gaps"]) if is_ours else "-",
                done["loop_delay_p99_ms"] if is_ours else "-",
            )
    table.print(as_json=options.json)


if __name__ == "__main__":
    main()
