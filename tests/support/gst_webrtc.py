"""GStreamer's webrtcbin as a WHEP viewer or a WHIP publisher: run by the system's Python, which has its bindings.

``view`` plays an address until so many pictures were seen; ``publish`` sends numbered pictures and a tone until a line
comes on stdin. It hangs up with DELETE and prints one JSON object: ``created`` and ``deleted`` (statuses), ``etag``,
``location``, and what was ``seen`` or ``sent`` (the numbers that :func:`tests.support.encoded.numbered_picture` draws)
with the ``tone`` that was heard, in Hz.
"""

import argparse
import json
import os
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstApp, GstSdp, GstWebRTC  # noqa: E402

BARS, WIDTH, HEIGHT, FPS = 16, 320, 180, 25
LIMIT_S = 60
RATE = 48_000
VIDEO_CAPS = "application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload=96,packetization-mode=(string)1"
AUDIO_CAPS = "application/x-rtp,media=audio,encoding-name={},clock-rate={},payload={}"
SOUND = f"audioconvert ! audioresample ! audio/x-raw,format=S16LE,rate={RATE},channels=1"
DECODED = {
    "H264": "rtph264depay ! h264parse ! avdec_h264 ! videoconvert ! video/x-raw,format=GRAY8",
    "PCMA": f"rtppcmadepay ! alawdec ! {SOUND}",
    "OPUS": f"rtpopusdepay ! opusdec ! {SOUND}",
}
SEND = f"""
    webrtcbin name=rtc bundle-policy=max-bundle
    appsrc name=pictures is-live=true do-timestamp=true format=time
        caps=video/x-raw,format=GRAY8,width={WIDTH},height={HEIGHT},framerate={FPS}/1
    ! videoconvert ! video/x-raw,format=I420
    ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=50 bitrate=400
    ! video/x-h264,profile=constrained-baseline
    ! rtph264pay config-interval=-1 aggregate-mode=zero-latency ! {VIDEO_CAPS} ! queue ! rtc.
    audiotestsrc is-live=true freq=440 volume=0.5 ! audio/x-raw,rate={RATE},channels=1
    ! opusenc ! rtpopuspay ! {AUDIO_CAPS.format("OPUS", RATE, 97)} ! queue ! rtc.
"""


def drawn(number: int) -> bytes:
    shades = [208 if number >> (BARS - 1 - bar) & 1 else 48 for bar in range(BARS)]
    return bytes(shade for shade in shades for _ in range(WIDTH // BARS)) * HEIGHT


class Peer:
    """One session; owned by the thread of its main loop."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token
        self.told: dict[str, object] = {}
        self.failure = ""
        self.loop = GLib.MainLoop()
        self.pipeline = self.made()
        self.rtc = self.pipeline.get_by_name("rtc")
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", lambda _, message: self.fail(str(message.parse_error())))

    def made(self) -> "Gst.Pipeline":
        raise NotImplementedError

    def http(self, method: str, url: str, body: str | None = None) -> "tuple[int, dict[str, str], str]":
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/sdp"}
        request = urllib.request.Request(url, body.encode() if body else None, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
                return answer.status, dict(answer.headers), answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read().decode()

    def offer(self, *_: object) -> None:
        self.rtc.emit("create-offer", None, Gst.Promise.new_with_change_func(self.offered))

    def offered(self, promise: "Gst.Promise") -> None:
        # The description is the reply's own: it is gone with it.
        reply = promise.get_reply()
        description = reply.get_value("offer")
        self.rtc.emit("set-local-description", description, Gst.Promise.new())
        GLib.idle_add(self.exchange, description.sdp.as_text())

    def exchange(self, offer: str) -> bool:
        status, headers, text = self.http("POST", self.url, offer)
        self.told.update(created=status, etag=headers.get("ETag"), location=headers.get("Location"))
        if status != 201:
            self.fail(text)
            return False
        found, answer = GstSdp.SDPMessage.new_from_text(text)
        assert found == GstSdp.SDPResult.OK
        described = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, answer)
        self.rtc.emit("set-remote-description", described, Gst.Promise.new())
        return False

    def fail(self, why: str) -> bool:
        self.failure = why
        self.loop.quit()
        return False

    def run(self) -> int:
        GLib.timeout_add_seconds(LIMIT_S, self.fail, f"not done in {LIMIT_S} s")
        self.loop.run()
        if self.told.get("location"):
            self.told["deleted"] = self.http("DELETE", urllib.parse.urljoin(self.url, str(self.told["location"])))[0]
        self.pipeline.set_state(Gst.State.NULL)
        print(json.dumps(self.told))
        if self.failure:
            print(self.failure, file=sys.stderr)
        return 1 if self.failure else 0


class Viewer(Peer):
    """Receives picture and sound."""

    def __init__(self, url: str, token: str, pictures: int) -> None:
        super().__init__(url, token)
        self.wanted = pictures
        self.seen: list[int] = []
        self.told["seen"] = self.seen
        self.crossings = self.samples = 0
        self.last = 0
        self.rtc.connect("pad-added", self.added)
        receive = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
        sounds = [("PCMA", 8_000, 8), ("OPUS", RATE, 97)]
        caps = ";".join(AUDIO_CAPS.format(*sound) for sound in sounds)
        self.rtc.emit("add-transceiver", receive, Gst.Caps.from_string(VIDEO_CAPS))
        self.rtc.emit("add-transceiver", receive, Gst.Caps.from_string(caps))
        self.pipeline.set_state(Gst.State.PLAYING)
        self.offer()

    def made(self) -> "Gst.Pipeline":
        pipeline = Gst.Pipeline.new()
        rtc = Gst.ElementFactory.make("webrtcbin", "rtc")
        rtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        pipeline.add(rtc)
        return pipeline

    def added(self, _: "Gst.Element", pad: "Gst.Pad") -> None:
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        codec = pad.get_current_caps().get_structure(0).get_string("encoding-name")
        text = f"queue ! {DECODED[codec]} ! appsink name=out emit-signals=true sync=false"
        chain = Gst.parse_bin_from_description(text, True)
        chain.get_by_name("out").connect("new-sample", self.picture if codec == "H264" else self.sound)
        self.pipeline.add(chain)
        chain.sync_state_with_parent()
        if pad.link(chain.get_static_pad("sink")) != Gst.PadLinkReturn.OK:
            GLib.idle_add(self.fail, f"{codec} cannot be linked")

    def picture(self, sink: "GstApp.AppSink") -> "Gst.FlowReturn":
        sample = sink.emit("pull-sample")
        width, height = (sample.get_caps().get_structure(0).get_value(name) for name in ("width", "height"))
        data = sample.get_buffer().extract_dup(0, sample.get_buffer().get_size())
        row = data[height // 2 * ((width + 3) // 4 * 4) :]
        bar = width // BARS
        self.seen.append(sum((row[bar * n + bar // 2] > 128) << (BARS - 1 - n) for n in range(BARS)))
        self.check()
        return Gst.FlowReturn.OK

    def sound(self, sink: "GstApp.AppSink") -> "Gst.FlowReturn":
        buffer = sink.emit("pull-sample").get_buffer()
        for sample in memoryview(buffer.extract_dup(0, buffer.get_size())).cast("h"):
            # From well below zero to well above it: what a codec adds to silence does not count.
            if abs(sample) > 2_000:
                self.crossings += self.last < 0 < sample
                self.last = sample
                self.samples += 1
            elif self.samples:
                self.samples += 1
        self.told["tone"] = self.crossings * RATE / self.samples if self.samples else None
        self.check()
        return Gst.FlowReturn.OK

    def check(self) -> None:
        if len(self.seen) >= self.wanted and self.samples > RATE:
            GLib.idle_add(self.loop.quit)


class Publisher(Peer):
    """Sends numbered pictures and a tone, until told to end."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__(url, token)
        self.number = 0
        self.source = self.pipeline.get_by_name("pictures")
        send = GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY
        for index in range(2):
            self.rtc.emit("get-transceiver", index).set_property("direction", send)
        self.rtc.connect("on-negotiation-needed", self.offer)
        self.pipeline.set_state(Gst.State.PLAYING)
        # From the start: webrtcbin makes no offer before it has seen the caps of what it is to send.
        GLib.timeout_add(1000 // FPS, self.feed)
        threading.Thread(target=self.listen, daemon=True).start()

    def made(self) -> "Gst.Pipeline":
        return Gst.parse_launch(SEND)

    def feed(self) -> bool:
        self.source.emit("push-buffer", Gst.Buffer.new_wrapped(drawn(self.number)))
        self.number += 1
        self.told["sent"] = self.number
        return True

    def listen(self) -> None:
        sys.stdin.readline()
        GLib.idle_add(self.loop.quit)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("view", "publish"))
    parser.add_argument("url")
    parser.add_argument("--pictures", type=int, default=100)
    options = parser.parse_args()
    Gst.init(None)
    bearer = os.environ["PEER_TOKEN"]
    peer = Viewer(options.url, bearer, options.pictures) if options.role == "view" else Publisher(options.url, bearer)
    raise SystemExit(peer.run())
