"""Playlists and segments of what is recorded, over any span, across gaps and codec changes."""

from collections.abc import AsyncIterator
from typing import Literal

from storage.database import Database
from storage.objects import ObjectStore

Rendition = Literal["video", "sound"]


class Playback:
    """Plays recordings from rows, stored objects and what still lies in the spool."""

    def __init__(self, database: Database, store: ObjectStore) -> None:
        self._database = database
        self._store = store

    async def master_playlist(self, meeting_id: str) -> str:
        """Multivariant playlist of the meeting's recording (so far)."""
        raise NotImplementedError

    async def media_playlist(self, meeting_id: str, rendition: Rendition) -> str:
        """fMP4 media playlist, VOD when the meeting is over, EVENT while it runs."""
        raise NotImplementedError

    async def ts_playlist(self, meeting_id: str) -> str:
        """Version 3 playlist of MPEG-TS segments."""
        raise NotImplementedError

    async def init(self, meeting_id: str, rendition: Rendition, period: str) -> bytes:
        """Init segment of a period."""
        raise NotImplementedError

    async def segment(self, meeting_id: str, rendition: Rendition, number: str) -> bytes:
        """A segment's bytes."""
        raise NotImplementedError

    async def ts_segment(self, meeting_id: str, number: str) -> bytes:
        """A segment as MPEG-TS."""
        raise NotImplementedError


class Mp4:
    """One progressive MP4 that is laid out but not yet made."""

    size: int
    etag: str

    def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes [start, end) of the file, made as they are asked for."""
        raise NotImplementedError
