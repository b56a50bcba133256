"""Installs what only the system's package manager has and the tests talk to: GStreamer with its RTSP server, coturn,
Chromium.

As root on Debian or Ubuntu it installs what is missing. Elsewhere it prints the one command to run and goes on: the
tests that need a missing program are then listed as skipped, except in CI, where nothing may be skipped.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

GST_PROBE = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
WEBRTC_PROBE = (
    "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstWebRTC', '1.0');"
    "from gi.repository import Gst, GstWebRTC; Gst.init(None);"
    "assert all(Gst.ElementFactory.find(name) for name in ('webrtcbin', 'nicesrc', 'opusenc', 'avdec_h264'))"
)


@dataclass(frozen=True)
class Requirement:
    """One thing the tests talk to, how to see that it is there, and the packages that bring it."""

    name: str
    probe: tuple[str, ...]
    packages: tuple[str, ...]

    def is_met(self) -> bool:
        """True if the probe command succeeds."""
        if shutil.which(self.probe[0]) is None:
            return False
        return subprocess.run(self.probe, capture_output=True, timeout=60, check=False).returncode == 0


REQUIREMENTS = (
    Requirement(
        "GStreamer's RTSP server",
        ("/usr/bin/python3", "-c", GST_PROBE),
        ("python3-gi", "gir1.2-gst-rtsp-server-1.0", "gstreamer1.0-rtsp"),
    ),
    Requirement("GStreamer's tools", ("gst-launch-1.0", "--version"), ("gstreamer1.0-tools",)),
    Requirement("x264 in GStreamer", ("gst-inspect-1.0", "x264enc"), ("gstreamer1.0-plugins-ugly",)),
    Requirement("x265 in GStreamer", ("gst-inspect-1.0", "x265enc"), ("gstreamer1.0-plugins-bad",)),
    Requirement("RTP in GStreamer", ("gst-inspect-1.0", "rtph264pay"), ("gstreamer1.0-plugins-good",)),
    Requirement("AAC in GStreamer", ("gst-inspect-1.0", "avenc_aac"), ("gstreamer1.0-libav",)),
    Requirement("test pictures in GStreamer", ("gst-inspect-1.0", "videotestsrc"), ("gstreamer1.0-plugins-base",)),
    Requirement(
        "WebRTC in GStreamer",
        ("/usr/bin/python3", "-c", WEBRTC_PROBE),
        ("python3-gi", "gstreamer1.0-plugins-bad", "gstreamer1.0-nice", "gir1.2-gst-plugins-bad-1.0"),
    ),
    Requirement("A C++ compiler, for live555", ("g++", "--version"), ("g++",)),
    Requirement("Network namespaces", ("ip", "-Version"), ("iproute2",)),
    Requirement("A TURN server", ("sh", "-c", "command -v turnserver"), ("coturn",)),
    Requirement("Chromium", ("chromium", "--version"), ("chromium",)),
    Requirement("Chinese type", ("sh", "-c", "fc-list :lang=zh | grep -q ."), ("fontconfig", "fonts-noto-cjk")),
)


def is_debian() -> bool:
    """True on Debian and what derives from it."""
    return Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None


def main() -> int:
    """Install or tell; the exit code is that of apt-get."""
    missing = [requirement for requirement in REQUIREMENTS if not requirement.is_met()]
    if not missing:
        return 0
    packages = sorted({package for requirement in missing for package in requirement.packages})
    names = ", ".join(requirement.name for requirement in missing)
    if not (is_debian() and os.geteuid() == 0):
        print(f"Not on this machine: {names}. The tests that need them will be listed as skipped.")
        print(f"To run them too: sudo apt-get install --no-install-recommends {' '.join(packages)}")
        return 0
    print(f"Installing for the tests: {names}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ("apt-get", "update", "-qq"),
        ("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages),
    ):
        finished = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
        if finished.returncode != 0:
            print(f"This did not work: {' '.join(command)}", file=sys.stderr)
            return finished.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
