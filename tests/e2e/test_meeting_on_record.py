"""The main job on real servers: a meeting records itself, loses its camera and its service, and is whole evidence."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from storage.records import new_id
from tests.support import county
from tests.support.ffmpeg_player import Played, play
from tests.support.playlist_rules import check
from tests.support.service import Person, ServiceProcess, running_service, until
from tests.support.village import running_village
from tools.servers import s3_settings

AWAY_S = 5.0
CLOSE_MS = 1500
"""How far what a gap's row says may be from the jump of the clock in the picture."""
FRAME_MS = 40

SETTINGS = {"SANHUI_SEGMENT_S": "2", "SANHUI_RECONCILE_S": "1"}


@pytest.fixture(params=["embedded", pytest.param("servers", marks=pytest.mark.servers)])
def house(request: pytest.FixtureRequest) -> dict[str, str]:
    """Settings: SQLite and a directory, or PostgreSQL and MinIO."""
    if request.param == "embedded":
        return dict(SETTINGS)
    database = request.getfixturevalue("postgres_url")
    bucket = {"SANHUI_S3_BUCKET": f"e2e-{new_id().lower()}"[:60], "SANHUI_DATABASE_URL": database}
    return SETTINGS | s3_settings(request.getfixturevalue("minio")) | bucket


def milliseconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp() * 1000


@contextlib.asynccontextmanager
async def official(service: ServiceProcess) -> AsyncIterator[Person]:
    async with Person(service.url) as person:
        await person.set_up(await service.setup_token())
        yield person


async def gap_closed(person: Person, meeting: str, cause: str) -> Any:
    """The gap of this cause, once it is over."""
    timeline: Any = None

    async def check() -> Any:
        nonlocal timeline
        timeline = await person.call("GET", f"/meetings/{meeting}/timeline")
        return next((gap for gap in timeline["gaps"] if gap["cause"] == cause and gap["ends_at"]), None)

    return await until(check, 60, lambda: f"no gap {cause} that is over: {timeline['gaps']}")


def jumps(clocks: Sequence[int]) -> list[tuple[int, int]]:
    """Where the clock in the picture leaps more than a second: from and to. AssertionError if it ever runs back."""
    backwards = [(a, b) for a, b in itertools.pairwise(clocks) if b <= a]
    assert not backwards, backwards
    return [(a, b) for a, b in itertools.pairwise(clocks) if b - a > 1000]


def is_close(gap: Any, start_ms: float, end_ms: float) -> bool:
    starts, ends = milliseconds(gap["starts_at"]), milliseconds(gap["ends_at"])
    return abs(starts - start_ms) < CLOSE_MS and abs(ends - end_ms) < CLOSE_MS


def assert_gaps_are_what_is_missing(played: Played, gaps: Sequence[Any]) -> None:
    """Every leap of the clock in the picture is a gap on record with the same times, and every gap is a leap."""
    clocks = [shown for _, shown in played.content.clocks]
    missing = [gap for gap in gaps if not gap["damaged_only"]]
    leaps = jumps(clocks)
    for before, after in leaps:
        found = [gap for gap in missing if is_close(gap, before, after)]
        assert found, (before, after, gaps)
        starts, ends = milliseconds(found[0]["starts_at"]) - before, milliseconds(found[0]["ends_at"]) - after
        print(f"{found[0]['cause']}: {after - before} ms missing; row begins {starts:+.0f}, ends {ends:+.0f} ms off")
    inside = [gap for gap in missing if clocks[0] < milliseconds(gap["starts_at"]) < clocks[-1]]
    assert len(inside) == len(leaps), (leaps, gaps)
    steps = [b - a for a, b in itertools.pairwise(clocks) if b - a <= 1000]
    assert sum(step <= FRAME_MS + 1 for step in steps) > 0.97 * len(steps), sorted(steps)[-20:]


@pytest.mark.timeout(300)
async def test_a_meeting_records_itself_and_loses_only_what_is_on_record_as_lost(
    house: dict[str, str], tmp_path: Path
) -> None:
    async with running_village(tmp_path) as village, running_service(tmp_path, house) as service:
        async with official(service) as person:
            town = await county.add_town(person)
            branch, room = await county.add_room(person, town, "柳树湾村党支部")
            camera = await county.add_camera(person, room, village.address())
            await county.camera_in_state(person, camera, "online")
            meeting = await county.plan_meeting(person, branch)
            assert (await person.call("GET", f"/meetings/{meeting}"))["state"] == "planned"
            began = await county.recorded(person, meeting, 5)
            assert (began["state"], began["started_by"]) == ("running", None)

            await village.kill()
            await asyncio.sleep(AWAY_S)
            await village.start()
            await gap_closed(person, meeting, "disconnected")
            before = (await county.recorded(person, meeting, 9))["recording"]["recorded_s"]

            await service.kill()
            # Long enough that the stretches before and after do not count as joined, however fast the start is.
            await asyncio.sleep(AWAY_S)
            await service.start()
            # The session is still good: it lives in the database.
            await gap_closed(person, meeting, "service-down")
            await county.recorded(person, meeting, before + 3)

            await person.call("GET", f"/meetings/{meeting}/timeline")
            ended = await person.call("POST", f"/meetings/{meeting}/end")
            assert ended["state"] == "ended"
            assert_all_of_it_is_there(await playlist_of(person, service, ended["playback"]["ts_url"]))
            whole = await county.filed(person, meeting)
            assert whole["recording"]["waiting_bytes"] == 0
            await assert_it_plays(person, service, whole, tmp_path)
            await assert_it_is_genuine(service)
            if "SANHUI_STORE" not in house:
                await assert_a_flipped_byte_is_found(service)


async def playlist_of(person: Person, service: ServiceProcess, address: str) -> str:
    async with person.http.get(service.url + address) as response:
        assert response.status == 200
        text = await response.text()
    check(text)
    return text


def assert_all_of_it_is_there(playlist: str) -> None:
    """Who has ended a meeting can look at all of it at once, though they looked at it a moment before."""
    assert playlist.rstrip().endswith("#EXT-X-ENDLIST"), playlist


async def assert_it_plays(person: Person, service: ServiceProcess, meeting: Any, folder: Path) -> None:
    timeline = await person.call("GET", f"/meetings/{meeting['id']}/timeline")
    causes = [gap["cause"] for gap in timeline["gaps"] if not gap["damaged_only"]]
    assert sorted(set(causes) - {"not-started"}) == ["disconnected", "service-down"], timeline["gaps"]
    assert all(gap["cause_text"] for gap in timeline["gaps"])
    # Between the first and the last picture there are three stretches on record, with the two gaps between them.
    assert len(timeline["spans"]) == 3, timeline["spans"]
    cookie = person.cookie_header
    played = await play(service.url + meeting["playback"]["hls_url"], folder, cookie=cookie)
    old = await play(service.url + meeting["playback"]["ts_url"], folder, cookie=cookie)
    for one in (played, old):
        assert_gaps_are_what_is_missing(one, timeline["gaps"])
        assert one.content.unreadable == 0
        assert len(one.content.clocks) > 0.9 * 25 * meeting["recording"]["recorded_s"]
    shown = {clock for _, clock in played.content.clocks}
    assert len(shown - {clock for _, clock in old.content.clocks}) <= 2


async def assert_it_is_genuine(service: ServiceProcess) -> None:
    check = await service.run("check")
    assert check.returncode == 0, check.stdout + check.stderr
    assert "✓" in check.stdout
    assert "✗" not in check.stdout


async def assert_a_flipped_byte_is_found(service: ServiceProcess) -> None:
    objects = sorted(service.folder.glob("data/objects/**/recordings/*/000001.mp4"))
    assert objects, list(service.folder.glob("data/objects/**/*"))
    path = objects[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x01
    path.chmod(0o600)
    path.write_bytes(data)
    check = await service.run("check")
    assert check.returncode != 0, check.stdout
    key = "/".join(path.parts[-3:])
    assert "✗" in check.stdout
    assert key in check.stdout.replace("\n", ""), check.stdout
