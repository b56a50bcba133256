"""A recording can be verified by its manifest and objects alone, with nothing of ours: as the auditor's page says."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

from recorder.check import check
from recorder.manifest import manifest_key
from storage.records import Attendance, GuidanceNote, NoteKind
from tests.recorder.house import house, until
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


async def test_notes_and_who_looked_in_are_in_it_and_in_the_check(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan()
        home.camera.connect()
        async with home.service() as recorder:
            await home.runs(recorder, meeting)
            start = home.clock.utc_ns()
            note = GuidanceNote(
                id="n1",
                meeting_id=meeting,
                author_id="wang",
                author_name="王敏",
                office_id=None,
                office_name="县委组织部",
                kind=NoteKind.REMIND,
                text="请先清点到会人数",
                key="key-00000001",
                at_utc_ns=start,
                written_utc_ns=start,
            )
            look = Attendance(
                meeting_id=meeting,
                user_id="wang",
                name="王敏",
                office_id=None,
                office_name="县委组织部",
                superior=True,
                from_utc_ns=start,
                seen_utc_ns=start,
            )
            async with home.database.transaction() as repos:
                await repos.notes.add(note)
                await repos.notes.answered("n1", start + 1, "tv")
                await repos.attendance.save(look)
            home.camera.feed(4.0)
            await until(lambda: recorder.metrics.parts >= 6, "parts arrive")
            await recorder.end_meeting(meeting, None)
        recording = await home.recording(meeting)
        manifest = json.loads(await home.store.get(manifest_key(recording.id)))
        (written,), (looked,) = manifest["notes"], manifest["attendance"]
        assert (written["text"], written["kind"], written["answered_utc_ns"]) == (note.text, "remind", start + 1)
        assert (looked["office"], looked["to_utc_ns"]) == ("县委组织部", recording.ended_utc_ns)
        assert (await check(home.database, home.store)).ok
        written["text"] = "另一段文字"
        await home.store.put(manifest_key(recording.id), json.dumps(manifest).encode(), {}, "application/json")
        assert [item.code for item in (await check(home.database, home.store)).findings] == ["manifest-differs"]
