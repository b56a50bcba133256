"""Builds the wheel. With SANHUI_COMPILE=1 the modules every packet goes through are compiled by mypyc, from the same
sources; where there is no C compiler the wheel is plain Python and does the same, only with more of the processor."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import setup

# A class here may not inherit from one of the standard library that has data of its own (Thread, RawIOBase): it would
# compile, and crash. What begins a slice may be called twice: it must do nothing but give a number.
HOT_PATH = (
    "media/audio_receiver.py",
    "media/codecs/g711.py",
    "media/codecs/h264.py",
    "media/codecs/h265.py",
    "media/codecs/nal.py",
    "media/codecs/sound.py",
    "media/decode_times.py",
    "media/fanout.py",
    "media/fmp4.py",
    "media/fmp4_read.py",
    "media/gathering.py",
    "media/gop.py",
    "media/open_segment.py",
    "media/receiver.py",
    "media/rtcp.py",
    "media/rtp.py",
    "media/runs.py",
    "media/segmenter.py",
    "media/segments.py",
    "media/stream.py",
    "media/timeline.py",
    "media/track_receiver.py",
    "media/unit.py",
    "media/video_receiver.py",
    "recorder/chain.py",
    "recorder/closing.py",
    "recorder/recording.py",
    "recorder/sample_table.py",
    "recorder/spool.py",
    "recorder/spool_files.py",
    "recorder/spool_format.py",
    "recorder/spool_object.py",
    "recorder/spool_writer.py",
    "streaming/publishing.py",
    "streaming/rtsp/connection.py",
    "streaming/rtsp/intake.py",
    "streaming/rtsp/pacing.py",
    "streaming/rtsp/transport.py",
)


def can_compile() -> bool:
    """Whether a C compiler and Python's headers are there."""
    compiler = (os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc")).split()[0]
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return shutil.which(compiler) is not None and headers.exists()


extensions = []
if os.environ.get("SANHUI_COMPILE") == "1":
    if can_compile():
        from mypyc.build import mypycify

        extensions = mypycify(list(HOT_PATH), opt_level="2", debug_level="0", group_name="sanhui")
    else:
        print(
            "No C compiler or no Python headers: the packet path is not compiled, it only costs more", file=sys.stderr
        )

setup(ext_modules=extensions)
