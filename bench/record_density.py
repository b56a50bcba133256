"""CPU and memory per recorded camera: Sanhui with everything on, beside one `ffmpeg -c copy` process per camera.

    python -m bench.record_density [--cameras 20] [--seconds 60] [--bitrate 2000000] [--viewers 0] [--whep 0] [--json]

The cameras are one process of their own that serves the same 25 pictures a second of H.264 + G.711A under N addresses:
1080p from 1 Mb/s on, below that 640×360. Ours: RTSP over TCP, fMP4, SHA-256, spool with fsync, object store
(directory), rows (SQLite). The baseline writes 4-second Matroska segments and does nothing else. Both are measured in
the same run, one after the other. With viewers of HLS there is another row: ffmpeg that also makes HLS, its sound AAC,
of as many cameras, which nobody fetches. In the end what is on record is compared with the loop that the cameras play,
picture by picture.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg
import imageio_ffmpeg

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.processes import Usage, measure
from bench.table import Table
from streaming.cameras import SupervisorSettings

USER, PASSWORD = "bench", "bench"
SETTLE_S = 8.0
LONGEST_DELAYS_S = 60.0
"""How long the event loop's delay is measured, after all else: to ask for it takes processor time itself."""
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Load:
    """``cameras`` of ``bitrate`` (b/s), read every ``read_interval_s``, watched by ``viewers`` of HLS and by ``whep``
    viewers of WebRTC who come and go, for ``seconds``."""

    cameras: int
    bitrate: int
    viewers: int
    whep: int
    seconds: float
    read_interval_s: float

    @property
    def loop(self) -> Path:
        """The file with what the cameras play."""
        return Path(tempfile.gettempdir()) / f"sanhui-bench-loop-{self.bitrate}.bin"


@contextmanager
def cameras(load: Load) -> Iterator[list[str]]:
    """Serve the cameras from a process of its own; their addresses without log-in."""
    command = [sys.executable, "-m", "streaming.simulator", "--loop", str(load.loop), "--count", str(load.cameras)]
    command += ["--bitrate", str(load.bitrate), "--user", USER, "--password", PASSWORD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            urls = [str(json.loads(process.stdout.readline())["url"]) for _ in range(load.cameras)]
            yield urls
        finally:
            process.terminate()


@contextmanager
def _viewers(module: str, site: str, load: Load, count: int, taken: dict[str, int]) -> Iterator[None]:
    """``count`` viewers in a process of their own; in the end, what they saw."""
    if not count:
        yield
        return
    command = [sys.executable, "-m", module, site, str(load.cameras), str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield
        finally:
            process.stdin.close()
            taken.update(json.loads(process.stdout.readline()))


def ours(urls: Sequence[str], load: Load) -> tuple[Usage, dict[str, Any]]:
    """Usage of the recorder process, and what it says that it did."""
    command = [sys.executable, "-m", "bench.recording_subject", USER, PASSWORD]
    command += ["--read-interval", str(load.read_interval_s), "--loop", str(load.loop), "--bitrate", str(load.bitrate)]
    command += ["--hls"] if load.viewers else []
    command += ["--whep"] if load.whep else []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("".join(f"{url}\n" for url in urls) + "\n")
        process.stdin.flush()
        first = process.stdout.readline()
        if not first:
            raise RuntimeError("the recorder did not start; see above")
        taken: dict[str, int] = {}
        seen: dict[str, int] = {}
        sites = json.loads(first)
        with (
            _viewers("bench.hls_viewers", sites["hls"], load, load.viewers, taken),
            _viewers("bench.whep_viewers", sites["whep"], load, load.whep, seen),
        ):
            time.sleep(SETTLE_S)
            usage = measure([process.pid], load.seconds)
            process.stdin.write("\n")
            process.stdin.flush()
            time.sleep(min(load.seconds, LONGEST_DELAYS_S))
        process.stdin.close()
        done = json.loads(process.stdout.readline())
        return usage, {**done, **json.loads(process.stdout.readline()), "viewers": taken, "whep": seen}


def _hls(source: Any, folder: Path, number: int) -> Any:
    """ffmpeg's HLS of one camera: the picture as it comes, G.711 made AAC, as players need it."""
    return source.output(
        f"{folder}/{number}.m3u8",
        vcodec="copy",
        acodec="aac",
        format="hls",
        hls_time=2,
        hls_flags="delete_segments",
        hls_segment_type="fmp4",
        hls_fmp4_init_filename=f"{number}.mp4",
        hls_segment_filename=f"{folder}/{number}-%05d.m4s",
    )


def baseline(urls: Sequence[str], seconds: float, watched: int = 0) -> Usage:
    """Usage of one ffmpeg process per camera; the first ``watched`` make HLS besides."""
    program = imageio_ffmpeg.get_ffmpeg_exe()
    with tempfile.TemporaryDirectory(prefix="sanhui-bench-") as folder:
        processes = []
        try:
            for number, url in enumerate(urls):
                source = ffmpeg.input(url.replace("rtsp://", f"rtsp://{USER}:{PASSWORD}@", 1), rtsp_transport="tcp")
                outputs = [source.output(f"{folder}/{number}-%05d.mkv", codec="copy", format="segment", segment_time=4)]
                if number < watched:
                    outputs.append(_hls(source, Path(folder), number))
                command = ffmpeg.merge_outputs(*outputs).global_args("-nostdin", "-loglevel", "error")
                processes.append(subprocess.Popen(command.compile(cmd=program)))
            time.sleep(SETTLE_S)
            return measure([process.pid for process in processes], seconds)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()


def _notes(done: dict[str, Any], count: int) -> list[str]:
    threads = sorted(done["threads"].items(), key=lambda item: -item[1])
    shares = ", ".join(f"{name} {100 * share / count:.3f}" for name, share in threads if share > 0.001)
    notes = [
        f"{count} cameras: {done['on_record']:,} access units on record, {done['lost']} lost in between, "
        f"{done['strange']} that the cameras did not send; {done['objects']} objects.",
        f"{count} cameras, CPU by thread, % of a core per camera: {shares}.",
    ]
    if done["viewers"]:
        viewers = done["viewers"]
        notes.append(
            f"{count} cameras: viewers took {viewers['parts']:,} parts, {viewers['failures']} requests failed."
        )
    if done["whep"]:
        seen = done["whep"]
        notes.append(
            f"{count} cameras: WebRTC viewers looked {seen['looks']:,} times, {seen['failures']} times in vain and "
            f"{seen['empty']} times at nothing; {seen['packets']:,} packets, {seen['missing']} missing among them."
        )
    return notes


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, nargs="+", default=[20], help="how many cameras; several make rows")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long ours is measured; two objects' worth")
    parser.add_argument("--baseline-seconds", type=float, default=60.0, help="how long ffmpeg is measured; 0 leaves it")
    parser.add_argument("--bitrate", type=int, default=2_000_000, help="of each camera's picture, bits per second")
    parser.add_argument("--viewers", type=int, default=0, help="viewers of live HLS besides")
    parser.add_argument("--whep", type=int, default=0, help="WebRTC viewers besides, who come and go")
    parser.add_argument(
        "--read-interval",
        type=float,
        default=SupervisorSettings().read_interval_s,
        help="how often the cameras' connections are read, in seconds; 0 whenever something comes",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def main() -> None:
    """Entry point."""
    options = _options()
    table = Table(
        f"Recording H.264 of {options.bitrate / 1e6:g} Mb/s + G.711A, {options.viewers} HLS and {options.whep} "
        "WebRTC viewers, per camera",
        (
            "way",
            "cameras",
            "CPU, % of a core",
            "memory, MiB",
            "CPU, ratio to ffmpeg",
            "units lost",
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
        load = Load(count, options.bitrate, options.viewers, options.whep, options.seconds, options.read_interval)
        _add_rows(table, load, options.baseline_seconds)
    table.print(as_json=options.json)


def _add_rows(table: Table, load: Load, baseline_seconds: float) -> None:
    """The rows of one number of cameras: ours, and what it is compared with unless ``baseline_seconds`` is 0."""
    count = load.cameras
    copied: Usage | None = None
    others: dict[str, Usage] = {}
    with cameras(load) as urls:
        usage, done = ours(urls, load)
        if done["online"] != count:
            raise RuntimeError(f"only {done['online']} of {count} cameras were online: {done}")
        if baseline_seconds:
            copied = others["ffmpeg -c copy"] = baseline(urls, baseline_seconds)
            if load.viewers:
                others[f"ffmpeg, with HLS of {load.viewers}"] = baseline(urls, baseline_seconds, load.viewers)
    table.add(
        "Sanhui",
        count,
        100 * usage.cpu_share / count,
        usage.memory / count / MIB,
        usage.cpu_share / copied.cpu_share if copied is not None else "-",
        int(done["lost"] + done["strange"] + done["packets_lost"]),
        int(done["overflows"] + done["gaps"]),
        done["loop_delay_p99_ms"],
    )
    for way, other in others.items():
        cpu, memory = 100 * other.cpu_share / count, other.memory / count / MIB
        ratio = other.cpu_share / copied.cpu_share if copied is not None else "-"
        table.add(way, count, cpu, memory, ratio, "-", "-", "-")
    table.notes += _notes(done, count)


if __name__ == "__main__":
    main()
