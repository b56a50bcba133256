"""A recording can be verified by its manifest and objects alone, with nothing of ours."""

import hashlib
import json
from pathlib import Path

from tests.recorder.house import house
from tests.recorder.test_service import recorded


async def test_verified_as_the_docstring_says_with_the_standard_library_alone(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await recorded(home)
        recording = (await home.recording(meeting)).id
    folder = tmp_path / "objects"
    manifest = json.loads((folder / "recordings" / recording / "manifest.json").read_text())
    chain = bytes(32)
    assert manifest["chain"]["first"] == chain.hex()
    checked = 0
    for item in manifest["objects"]:
        data = (folder / item["key"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == item["sha256"]
        for segment in item["segments"]:
            by_track = {}
            for part in segment["ranges"]:
                digest = hashlib.sha256(data[part["offset"] : part["offset"] + part["size"]])
                assert digest.hexdigest() == part["sha256"]
                by_track[part["track_id"]] = digest.digest()
            facts = {
                "discontinuity": segment["discontinuity"],
                "duration_ns": segment["duration_ns"],
                "period": item["period"],
                "recording": manifest["recording"],
                "sequence": segment["sequence"],
                "start_utc_ns": segment["start_utc_ns"],
                "tracks": [
                    {"dts": p["dts"], "duration": p["duration"], "size": p["size"], "track": p["track_id"]}
                    for p in segment["ranges"]
                ],
            }
            empty = hashlib.sha256(b"").digest()
            text = json.dumps(facts, separators=(",", ":"), ensure_ascii=False).encode()
            chain = hashlib.sha256(chain + by_track.get(1, empty) + by_track.get(2, empty) + text).digest()
            assert segment["chain"] == chain.hex()
            checked += 1
    assert checked == 6
    assert manifest["chain"]["last"] == chain.hex()
    assert manifest["meeting"] == meeting
    assert [track["codec"] for track in manifest["periods"][0]["tracks"]] == ["h264", "pcma"]
