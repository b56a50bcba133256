"""A camera of another make: GStreamer's RTSP server with test picture and sound.

Run by Debian's own Python (``/usr/bin/python3``), which has GStreamer's bindings; it must not import anything of ours.
Prints one line of JSON (``{"port": …}``) when it listens, and ends when its standard input closes.

With --heard FILE it is an ONVIF camera whose loudspeaker (µ-law) writes what it hears, decoded, into that WAV file.

Mounts: /h264-pcma /h264-aac /h265-pcma /h265-aac /h264 /h265 /jpeg. The log-in comes by the environment: CAMERA_USER,
CAMERA_PASSWORD, CAMERA_AUTH (digest, basic, none).
"""

import argparse
import json
import os
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

VIDEO = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast bitrate=500 key-int-max={gop} ! "
    "video/x-h264,profile=baseline ! rtph264pay name=pay{index} pt=96 config-interval=-1",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast bitrate=500 key-int-max={gop} "
    "option-string=log-level=none:pools=1 ! h265parse ! rtph265pay name=pay{index} pt=96 config-interval=-1",
    "jpeg": "jpegenc ! rtpjpegpay name=pay{index} pt=26",
}
AUDIO = {
    "pcma": "audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay name=pay{index} pt=8",
    "aac": "audio/x-raw,rate=16000,channels=1 ! voaacenc bitrate=32000 ! aacparse ! rtpmp4gpay name=pay{index} pt=97",
}
MOUNTS = ("h264-pcma", "h264-aac", "h265-pcma", "h265-aac", "h264", "h265", "jpeg")


def launch_line(mount: str, arguments: argparse.Namespace) -> str:
    """The pipeline of one mount."""
    video, _, audio = mount.partition("-")
    caps = f"video/x-raw,width={arguments.width},height={arguments.height},framerate={arguments.fps}/1,format=I420"
    line = f"( videotestsrc is-live=true pattern=ball ! {caps} ! {VIDEO[video]} "
    line = line.format(gop=arguments.gop, index=0)
    if audio:
        line += f"audiotestsrc is-live=true wave=ticks ! audioconvert ! audioresample ! {AUDIO[audio]} ".format(index=1)
    return line + ")"


def with_loudspeaker(path: str) -> GstRtspServer.RTSPOnvifMediaFactory:
    """A factory whose media have an ONVIF back-channel."""
    factory = GstRtspServer.RTSPOnvifMediaFactory()
    factory.set_media_gtype(GstRtspServer.RTSPOnvifMedia)
    factory.set_backchannel_launch(
        '( capsfilter caps="application/x-rtp,media=audio,payload=0,clock-rate=8000,encoding-name=PCMU" '
        f"name=depay_backchannel ! rtppcmudepay ! mulawdec ! wavenc ! filesink location={path} sync=false async=false )"
    )
    return factory


def protect(server: GstRtspServer.RTSPServer, method: str, certificate: str) -> None:
    """Ask for the log-in of the environment; speak TLS where there is a certificate."""
    auth = GstRtspServer.RTSPAuth()
    if certificate:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(certificate))
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    user, password = os.environ["CAMERA_USER"], os.environ["CAMERA_PASSWORD"]
    if method == "digest":
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(user, password, token)
    else:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)


def main() -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--gop", type=int, default=25)
    parser.add_argument("--heard", default="")
    parser.add_argument("--certificate", default="", help="PEM file; only with a log-in")
    arguments = parser.parse_args()

    Gst.init(None)
    server = GstRtspServer.RTSPOnvifServer() if arguments.heard else GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(arguments.port))
    method = os.environ.get("CAMERA_AUTH", "none")
    if method != "none":
        protect(server, method, arguments.certificate)
    mounts = server.get_mount_points()
    for mount in MOUNTS:
        factory = with_loudspeaker(arguments.heard) if arguments.heard else GstRtspServer.RTSPMediaFactory()
        factory.set_launch(launch_line(mount, arguments))
        factory.set_shared(not arguments.heard)
        if method != "none":
            permissions = GstRtspServer.RTSPPermissions()
            permissions.add_permission_for_role("viewer", "media.factory.access", True)
            permissions.add_permission_for_role("viewer", "media.factory.construct", True)
            factory.set_permissions(permissions)
        mounts.add_factory(f"/{mount}", factory)
    loop = GLib.MainLoop()
    if server.attach(None) == 0:
        sys.exit("cannot listen")
    GLib.io_add_watch(sys.stdin.fileno(), GLib.IO_HUP | GLib.IO_IN, lambda *_: loop.quit())
    sys.stdout.write(json.dumps({"port": server.get_bound_port()}) + "\n")
    sys.stdout.flush()
    loop.run()


if __name__ == "__main__":
    main()
