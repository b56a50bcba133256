"""A recorder in a process of its own, for tests that kill it: ``python -m tests.support.recorder_process FOLDER ID``.

Feeds the camera of the meeting ID without end and says on standard output what is on disk: ``written PARTS OCTETS``
means that so much media has left the process.
"""

import asyncio
import sys
from pathlib import Path

from tests.recorder.house import house, until


async def _main(folder: Path, meeting: str) -> None:
    async with house(folder, built=True) as home:
        home.camera.connect()
        async with home.service() as recorder:
            await home.runs(recorder, meeting)
            while True:
                before = recorder.metrics.parts
                home.camera.feed(0.7)
                await until(lambda before=before: recorder.metrics.parts > before)  # type: ignore[misc]
                await until(lambda: recorder.metrics.spool_pending_bytes == 0)
                state = recorder.live_state(meeting)
                assert state is not None
                print("written", recorder.metrics.parts, state.bytes, flush=True)


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), sys.argv[2]))
