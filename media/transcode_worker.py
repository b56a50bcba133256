"""A process that makes pictures plain: ``python -m media.transcode_worker '{"max_height": 720, …}'``.

Reads :class:`~media.plain_wire.Picture` messages from standard input until its end, writes
:class:`~media.plain_wire.Plain` messages to standard output. It has lower priority than the service, so that cameras
and recordings go before it.
"""

import json
import os
import signal
import sys
from typing import BinaryIO

import av.logging

from media.plain_picture import PlainEncoder, PlainSettings
from media.plain_wire import Picture

_NICE = 10


def work(settings: PlainSettings, source: BinaryIO, target: BinaryIO) -> None:
    """Transcode until the source ends. Raises ValueError for what is not a message."""
    encoder = PlainEncoder(settings)
    while len(head := source.read(Picture.HEADER.size)) == Picture.HEADER.size:
        size, empty = Picture.read(head)
        data = source.read(size)
        if len(data) < size:
            return
        picture = Picture(empty.codec, empty.pts, empty.dts, empty.utc_ns, empty.epoch, data, empty.silent, empty.anew)
        made = encoder.push(picture)
        for plain in made:
            target.write(plain.pack())
        if made:
            target.flush()


def main() -> None:
    """What the command line starts."""
    # Ctrl-C is for the service, which then closes our input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(_NICE)
    av.logging.set_level(None)
    settings = PlainSettings(**json.loads(sys.argv[1])) if len(sys.argv) > 1 else PlainSettings()
    try:
        work(settings, sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:
        # The service is gone; there is nobody left to tell.
        os._exit(1)


if __name__ == "__main__":
    main()
