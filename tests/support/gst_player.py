"""GStreamer's playbin as a player: run by the system's Python, which has its bindings. Prints one JSON object.

Plays an address, seeks once when some pictures have come, plays to the end or until enough pictures were seen.
``before`` and ``after`` are the numbers that
:func:`tests.support.encoded.numbered_picture` drew into the pictures.
"""

import argparse
import json
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
from gi.repository import GLib, Gst, GstApp  # noqa: E402

BARS = 16


def number_of(sample: "Gst.Sample") -> int:
    caps = sample.get_caps().get_structure(0)
    width, height = caps.get_value("width"), caps.get_value("height")
    buffer = sample.get_buffer()
    found, info = buffer.map(Gst.MapFlags.READ)
    assert found
    try:
        stride = (width + 3) // 4 * 4
        row = info.data[height // 2 * stride : height // 2 * stride + width]
        bar = width // BARS
        return sum((row[bar * n + bar // 2] > 128) << (BARS - 1 - n) for n in range(BARS))
    finally:
        buffer.unmap(info)


class Player:
    def __init__(self, url: str, seek_s: float | None, pictures: int | None) -> None:
        self.wanted = pictures
        self.seek_s = seek_s
        self.before: list[int] = []
        self.after: list[int] = []
        self.duration_s: float | None = None
        self.ended = False
        self.sought = seek_s is None
        self.failure = ""
        self.loop = GLib.MainLoop()
        self.bin = Gst.ElementFactory.make("playbin")
        video = Gst.parse_bin_from_description(
            "videoconvert ! video/x-raw,format=GRAY8 ! appsink name=pictures emit-signals=true sync=false", True
        )
        self.bin.set_property("video-sink", video)
        self.bin.set_property("audio-sink", Gst.ElementFactory.make("fakesink"))
        self.bin.set_property("uri", url)
        video.get_by_name("pictures").connect("new-sample", self.picture)
        bus = self.bin.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.message)

    def picture(self, sink: "GstApp.AppSink") -> "Gst.FlowReturn":
        number = number_of(sink.emit("pull-sample"))
        (self.after if self.sought else self.before).append(number)
        if self.wanted is not None and len(self.after) == self.wanted:
            GLib.idle_add(self.loop.quit)
        if not self.sought and len(self.before) == 25:
            GLib.idle_add(self.seek)
        return Gst.FlowReturn.OK

    def seek(self) -> bool:
        found, duration = self.bin.query_duration(Gst.Format.TIME)
        self.duration_s = duration / Gst.SECOND if found else None
        flags = Gst.SeekFlags.FLUSH | Gst.SeekFlags.KEY_UNIT
        self.sought = True
        if not self.bin.seek_simple(Gst.Format.TIME, flags, int(self.seek_s * Gst.SECOND)):
            self.fail("the seek was refused")
        self.after.clear()
        return False

    def message(self, _bus: "Gst.Bus", message: "Gst.Message") -> None:
        if message.type == Gst.MessageType.ERROR:
            error, detail = message.parse_error()
            self.fail(f"{error.message}: {detail}")
        elif message.type == Gst.MessageType.EOS:
            self.ended = True
            self.loop.quit()

    def fail(self, why: str) -> None:
        self.failure = why
        self.loop.quit()

    def run(self) -> int:
        self.bin.set_state(Gst.State.PLAYING)
        GLib.timeout_add_seconds(45, self.fail, "no end in 45 s")
        self.loop.run()
        self.bin.set_state(Gst.State.NULL)
        told = {"before": self.before, "after": self.after, "duration_s": self.duration_s, "ended": self.ended}
        print(json.dumps(told))
        if self.failure:
            print(self.failure, file=sys.stderr)
        return 1 if self.failure else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--seek", type=float)
    parser.add_argument("--pictures", type=int)
    options = parser.parse_args()
    Gst.init(None)
    raise SystemExit(Player(options.url, options.seek, options.pictures).run())
