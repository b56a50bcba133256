"""A recording can be verified by its manifest and objects alone, with nothing of ours: as the auditor's page says."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

from tests.recorder.house import house
from tests.recorder.test_service import recorded

AUDITORS_PAGE = Path(__file__).parents[2] / "docs" / "auditor.md"


def checked_by_hand(folder: Path) -> subprocess.CompletedProcess[str]:
    """Follow the page in a recording's folder, with an isolated Python that has the standard library alone."""
    code = re.search(r"```python\n(.*?)```", AUDITORS_PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    (folder / "check.py").write_text(code[1], encoding="utf-8")
    command = [sys.executable, "-I", "-S", "check.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


async def test_verified_as_the_auditors_page_says(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await recorded(home)
        recording = (await home.recording(meeting)).id
    folder = tmp_path / "objects" / "recordings" / recording
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["meeting"] == meeting
    assert [track["codec"] for track in manifest["periods"][0]["tracks"]] == ["h264", "pcma"]

    good = await asyncio.to_thread(checked_by_hand, folder)
    assert good.returncode == 0, good.stderr
    assert good.stdout.startswith("whole and unchanged: 6 segments")

    # A segment's time moved by a nanosecond: no byte of media has changed, the chain still tells.
    moved = json.loads(json.dumps(manifest))
    moved["objects"][0]["segments"][1]["start_utc_ns"] += 1
    (folder / "manifest.json").write_text(json.dumps(moved), encoding="utf-8")
    assert (await asyncio.to_thread(checked_by_hand, folder)).returncode != 0

    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    first = folder / manifest["objects"][0]["key"].rsplit("/", 1)[-1]
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    assert (await asyncio.to_thread(checked_by_hand, folder)).returncode != 0
