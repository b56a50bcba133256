"""What docs/auditor.md tells an auditor to do, done to the letter on a recorded meeting."""

import asyncio
import subprocess
import sys
from pathlib import Path

from media.unit import GapCause
from tests.recorder.house import house, until

PAGE = Path(__file__).parents[2] / "docs" / "auditor.md"


def checked(folder: Path) -> subprocess.CompletedProcess[str]:
    """The page's own program, run in a copy of a recording's folder, with nothing of ours in reach."""
    program = PAGE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    (folder / "check.py").write_text(program, encoding="utf-8")
    return subprocess.run([sys.executable, "-I", "check.py"], cwd=folder, capture_output=True, text=True, timeout=60)


async def test_the_program_on_the_page_agrees_with_what_is_recorded_and_with_nothing_else(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        async with home.recorded() as (recorder, meeting):
            home.camera.feed(10.0)
            await until(lambda: recorder.metrics.parts >= 20, "parts arrive")
            home.camera.lose(6.0, GapCause.SILENT)
            home.camera.feed(9.3)
            await until(lambda: recorder.metrics.parts >= 38, "media again")
        recording = await home.recording(meeting)
        objects = await home.objects(meeting)
        segments = sum([len(item.segments) for item in objects])
        folder = tmp_path / "copy"
        folder.mkdir()
        async for stored in home.store.list(f"recordings/{recording.id}/"):
            (folder / stored.key.rsplit("/", 1)[-1]).write_bytes(await home.store.get(stored.key))

    done = await asyncio.to_thread(checked, folder)
    assert done.stdout.splitlines()[0] == f"whole and unchanged: {segments} segments, 1 gaps", done.stderr
    assert "'cause': 'silent'" in done.stdout

    manifest = (folder / "manifest.json").read_text(encoding="utf-8")
    start = objects[0].segments[1].start_utc_ns
    changed = manifest.replace(f'"start_utc_ns": {start}', f'"start_utc_ns": {start + 1}')
    assert changed != manifest
    (folder / "manifest.json").write_text(changed, encoding="utf-8")
    assert (await asyncio.to_thread(checked, folder)).returncode != 0, "a time was changed"
    (folder / "manifest.json").write_text(manifest, encoding="utf-8")
    data = bytearray((folder / "000001.mp4").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "000001.mp4").write_bytes(data)
    assert (await asyncio.to_thread(checked, folder)).returncode != 0, "a bit of a picture was changed"
