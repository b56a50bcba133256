"""live555's programs: where they are, and live555 as a camera (live555_camera.cpp)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.servers import cannot_run
from tools.go_programs import ServerUnavailableError
from tools.live555 import built_program, library_path

START_S = 30.0


def live555_program(name: str) -> Path:
    """The program. Where live555 is not built the test is skipped; it fails in CI, where nothing may be skipped."""
    if not library_path().exists():
        # `make test` does it before any test waits for it.
        cannot_run("live555 is not built yet: python -m tools.servers --prepare")
    try:
        return built_program(name)
    except ServerUnavailableError as error:
        cannot_run(str(error))
        raise


@contextlib.asynccontextmanager
async def live555_camera(pictures: Path, sound: Path, user: str, password: str) -> AsyncIterator[str]:
    """A camera that plays an H.264 file and an ADTS file to each who logs in, for as long as the context is open. Its
    address, without credentials."""
    program = await asyncio.to_thread(live555_program, "camera")
    process = await asyncio.create_subprocess_exec(
        program, pictures, sound, user, password, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_S):
            url = (await process.stdout.readline()).decode().strip()
        yield url
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(3):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
