"""Cards, timelines and stories from plain records; helpers that need no service."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.stream import Quality
from media.unit import NS_PER_S, AudioTrack, Codec, VideoTrack
from recorder.state import LiveState, RecordingState
from storage.records import (
    Camera,
    CameraPlace,
    GapRecord,
    Meeting,
    MeetingKind,
    MeetingState,
    Organization,
    OrganizationLevel,
    Site,
    StoryEntry,
)
from streaming.camera_status import CameraState, CameraStatus, Problem
from tests.web.conftest import ShiftedClock
from web.access.passwords import weakness
from web.access.sessions import csrf_token
from web.api.now_view import Room, card, cards, today_only
from web.api.timeline_view import Stretch, joined, length_s, missing_s, shown_gaps, story
from web.county import CountyPicture
from web.messages import load_catalogs
from web.trends import VALUES, Trends
from web.viewers import Viewers

NOW = datetime(2026, 11, 21, 11, 30, tzinfo=UTC)
NOW_NS = int(NOW.timestamp()) * NS_PER_S
CHINESE = load_catalogs().of("zh-CN")
VILLAGE = Organization(id="v", parent_id="t", level=OrganizationLevel.VILLAGE, name="东村党支部")
TOWN = Organization(id="t", parent_id=None, level=OrganizationLevel.TOWN, name="东镇")
PICTURE = CountyPicture(organizations={"v": VILLAGE, "t": TOWN})
VIDEO = VideoTrack(Codec.H264, (b"\x67", b"\x68"), 1280, 720)
SOUND = AudioTrack(Codec.PCMA, 8000, 1)


def place(name: str = "c") -> CameraPlace:
    camera = Camera(id=name, site_id="s", name=name, url="rtsp://h/", created_at=NOW, updated_at=NOW)
    return CameraPlace(camera=camera, site=Site(id="s", organization_id="v", name="会议室"), organization=VILLAGE)


def status(state: CameraState = CameraState.ONLINE, *, sound: bool = True, problem: str = "") -> CameraStatus:
    tracks = (VIDEO, SOUND) if sound else (VIDEO,)
    return CameraStatus(
        "c", Quality.MAIN, state, NOW_NS, Problem(problem, {"host": "h", "port": 1}) if problem else None, tracks
    )


def meeting(state: MeetingState = MeetingState.RUNNING, minutes: int = -30, **more: object) -> Meeting:
    planned = NOW + timedelta(minutes=minutes)
    record = Meeting(
        id="m",
        organization_id="v",
        site_id="s",
        camera_id="c",
        kind=MeetingKind.MEMBERS,
        title="",
        planned_start=planned,
        state=state,
        started_utc_ns=int(planned.timestamp()) * NS_PER_S if state is MeetingState.RUNNING else None,
        created_at=NOW,
    )
    return replace(record, **more)  # type: ignore[arg-type]


def live(*, away: bool = False) -> LiveState:
    state = RecordingState("r", "c", NOW_NS - NS_PER_S, NOW_NS, 5, 1, away)
    return LiveState("m", NOW_NS - NS_PER_S, NOW_NS, 5, 5, 0.0, (), (state,))


def test_a_live_room_says_what_is_on_and_that_it_records() -> None:
    shown = card(Room(place(), status(), meeting(), live=live(), viewers=2), PICTURE, CHINESE, NOW_NS)
    assert (shown.group, shown.recording, shown.problem) == ("live", "recording", None)
    assert [chip.kind for chip in shown.chips] == ["live", "recording", "watched"]
    assert shown.meeting is not None
    assert shown.meeting.title == "支部党员大会"
    assert shown.town is not None
    assert shown.town.name == "东镇"


def test_a_room_without_sound_says_so() -> None:
    shown = card(Room(place(), status(sound=False), meeting(), live=live()), PICTURE, CHINESE, NOW_NS)
    assert "no-sound" in [chip.kind for chip in shown.chips]


def test_a_room_of_sound_alone_is_a_problem_of_its_meeting_and_a_mark_on_its_card() -> None:
    dark = replace(status(), tracks=(SOUND,), picture_missing=True)
    shown = card(Room(place(), dark, meeting(), live=live()), PICTURE, CHINESE, NOW_NS)
    assert (shown.group, shown.recording) == ("problem", "recording")
    assert shown.problem is not None
    assert shown.problem.title == "只有声音、没有画面"
    idle = card(Room(place(), dark), PICTURE, CHINESE, NOW_NS)
    assert (idle.group, idle.problem) == ("idle", None)
    for one in (shown, idle):
        assert "no-picture" in [chip.kind for chip in one.chips]


@pytest.mark.parametrize(
    ("room", "code"),
    [
        (Room(place(), status(CameraState.OFFLINE, problem="camera-unreachable"), meeting()), "camera-unreachable"),
        (Room(place(), status(), meeting(), live=live(away=True)), "meeting-not-recorded"),
        (Room(place(), status(), meeting(MeetingState.PLANNED, -1)), "meeting-not-recorded"),
        (Room(place(), None, meeting(), unreadable=True), "secret-unreadable"),
    ],
)
def test_a_meeting_that_is_not_being_recorded_is_a_problem(room: Room, code: str) -> None:
    shown = card(room, PICTURE, CHINESE, NOW_NS)
    assert shown.group == "problem"
    assert shown.problem is not None
    assert shown.problem.code == code


def test_a_meeting_that_has_just_begun_is_given_a_moment() -> None:
    just = meeting(started_utc_ns=NOW_NS - 3 * NS_PER_S)
    assert card(Room(place(), status(), just), PICTURE, CHINESE, NOW_NS).problem is None


def test_a_meeting_that_must_not_be_recorded_is_no_problem() -> None:
    secret = meeting(record=False, no_record_reason="涉密")
    shown = card(Room(place(), status(), secret), PICTURE, CHINESE, NOW_NS)
    assert (shown.problem, shown.recording, shown.group) == (None, "none", "live")


def test_problems_come_first_then_what_is_live_then_what_comes_next() -> None:
    rooms = [
        Room(place("idle"), status()),
        Room(place("later"), status(), next=meeting(MeetingState.PLANNED, 90)),
        Room(place("soon"), status(), next=meeting(MeetingState.PLANNED, 10)),
        Room(place("live"), status(), meeting(), live=live()),
        Room(place("broken"), status(CameraState.OFFLINE, problem="camera-disconnected"), meeting()),
    ]
    shown = cards(rooms, PICTURE, CHINESE, NOW_NS)
    assert [item.camera.id for item in shown] == ["broken", "live", "soon", "later", "idle"]


def test_today_is_the_countys_day() -> None:
    zone = ZoneInfo("Asia/Shanghai")
    # 19:30 in Shanghai; five hours later it is tomorrow there, though not yet in UTC.
    upcoming = {"a": meeting(MeetingState.PLANNED, 60), "b": meeting(MeetingState.PLANNED, 300)}
    assert set(today_only(upcoming, NOW, zone)) == {"a"}


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 20)), max_size=30))
def test_joined_stretches_cover_the_same_time_and_never_touch(parts: list[tuple[int, int]]) -> None:
    stretches = [Stretch(start, start + length) for start, length in parts]
    result = joined(stretches, 0)
    covered = {second for item in stretches for second in range(item.start_ns, item.end_ns)}
    assert covered == {second for item in result for second in range(item.start_ns, item.end_ns)}
    assert all(before.end_ns < after.start_ns for before, after in itertools.pairwise(result))
    assert length_s(Stretch(item.start_ns * NS_PER_S, item.end_ns * NS_PER_S) for item in result) == len(covered)


def gap(start_s: float, end_s: float | None, cause: str = "disconnected", packets: int = 0) -> GapRecord:
    return GapRecord(
        recording_id="r",
        start_utc_ns=NOW_NS + int(start_s * NS_PER_S),
        end_utc_ns=None if end_s is None else NOW_NS + int(end_s * NS_PER_S),
        cause=cause,
        packets=packets,
    )


def test_missing_time_counts_no_second_twice_and_no_damage() -> None:
    gaps = [gap(0, 5), gap(3, 8, "silent"), gap(20, 30, "packets-lost"), gap(40, None)]
    assert missing_s(gaps, NOW_NS + 42 * NS_PER_S) == 10.0


def test_gaps_are_told_with_their_cause_in_words() -> None:
    shown = shown_gaps([gap(0, 5), gap(6, None, "service-down"), gap(7, 8, "packets-lost", 12)], CHINESE)
    assert [item.cause_text for item in shown] == ["摄像机断线", "服务停止", "网络丢包，画面受损"]
    assert [item.damaged_only for item in shown] == [False, False, True]
    assert shown[1].ends_at is None


def test_the_story_tells_losses_once_and_names_who_did_what() -> None:
    entries = [
        StoryEntry(meeting_id="m", at_utc_ns=NOW_NS - NS_PER_S, kind="meeting-started", params={"by": "plan"}),
        StoryEntry(meeting_id="m", at_utc_ns=NOW_NS, kind="media-lost", params={"cause": "disconnected"}),
        StoryEntry(meeting_id="m", at_utc_ns=NOW_NS + 9 * NS_PER_S, kind="meeting-ended", params={"by": "u"}),
    ]
    shown = story(entries, [gap(0, 5), gap(6, 7, "packets-lost", 3)], PICTURE, CHINESE)
    assert [item.code for item in shown] == [
        "meeting-started-by-plan",
        "gap",
        "picture-back",
        "damaged",
        "meeting-ended",
    ]
    assert shown[1].text == "摄像机断线，缺 5 秒"
    assert shown[0].text == "按计划自动开始"


def test_viewers_are_those_who_have_asked_lately() -> None:
    clock = ShiftedClock()
    viewers = Viewers(clock)
    viewers.seen("c", "a")
    clock.shift_s += 15
    viewers.seen("c", "b")
    viewers.seen("c", "b")
    assert set(viewers.of_camera("c")) == {"a", "b"}
    clock.shift_s += 10
    assert viewers.of_camera("c") == ("b",)
    clock.shift_s += 30
    assert viewers.counts() == {}


def test_trends_keep_the_last_minutes_and_forget_cameras_that_are_gone() -> None:
    rates = {"a": 0}
    trends = Trends(lambda: rates)
    for value in range(VALUES + 5):
        rates["a"] = value
        trends.sample()
    assert trends.of("a") == list(range(5, VALUES + 5))
    rates.clear()
    trends.sample()
    assert trends.of("a") == []


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("Good-Enough-1", None),
        ("三会一课记录完整a1", None),
        ("Short-1", "too-short"),
        ("alllowercase1", "password-weak"),
        ("Xx-county-77", "password-has-name"),
    ],
)
def test_what_makes_a_password_good_enough(password: str, code: str | None) -> None:
    assert weakness(password, "County") == code


def test_a_csrf_token_belongs_to_its_session_alone() -> None:
    assert csrf_token("a") != csrf_token("b")
    assert csrf_token("a") == csrf_token("a")
    assert "a" * 10 not in csrf_token("a" * 10)
