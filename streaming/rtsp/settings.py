"""How patient our RTSP client is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RtspSettings:
    """Times in seconds. ``silence_s`` plus ``tick_s`` stays below 10, the time in which silence must be noticed.

    ``first_picture_s``: how long the first picture may take; ``no_picture_s``: how long packets may come without one
    after that; ``forgotten_s``: what is left of ``silence_s`` once the camera has said that it knows no such session;
    ``datagrams_s``: how long the first datagram may take where media comes over UDP.
    """

    connect_s: float = 5.0
    answer_s: float = 8.0
    silence_s: float = 8.5
    datagrams_s: float = 5.0
    tick_s: float = 1.0
    report_s: float = 5.0
    max_redirects: int = 3
    first_picture_s: float = 60.0
    no_picture_s: float = 20.0
    forgotten_s: float = 2.0
    default_session_s: int = 60
    user_agent: str = "Sanhui"
