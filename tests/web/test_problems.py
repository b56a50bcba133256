"""Every error becomes problem details in the person's language; nothing inside is ever shown."""

import importlib
import inspect
import json
import logging
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiohttp import ClientOSError, ClientPayloadError, ServerDisconnectedError
from aiohttp import web as http
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

import media
import recorder
import storage
import streaming
import web
from media.clock import Clock
from storage.directory_store import DirectoryStore
from storage.errors import IntegrityError
from streaming import addresses
from streaming.rtsp import line
from streaming.webrtc import choice
from streaming.webrtc.errors import StreamAwayError
from tests.streaming.watching import until
from tests.web.conftest import Service, fill, run, settings
from web import openapi, pages, problems
from web.errors import WebError
from web.messages import Catalogs, load_catalogs
from web.problems import TYPED_ERRORS

LANGUAGES = {"zh-CN", "en"}


def _error_classes() -> Iterator[type[Exception]]:
    for package in (media, streaming, recorder, storage, web):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith("errors") or module.name == "web.demo":
                importlib.import_module(module.name)
    waiting: list[type[Exception]] = list(TYPED_ERRORS)
    while waiting:
        kind = waiting.pop()
        yield kind
        waiting.extend(kind.__subclasses__())


def _placeholders(text: str) -> set[str]:
    return set(re.findall(r"{(\w+(?::\w+)?)}", text))


def test_every_error_of_all_packages_has_a_sentence_in_both_languages() -> None:
    catalogs = load_catalogs()
    codes = {str(getattr(kind, "code")) for kind in _error_classes()}  # noqa: B009
    assert len(codes) > 50
    for language in LANGUAGES:
        entries = catalogs.of(language).groups["errors"]
        missing = sorted(code for code in codes if code not in entries)
        assert not missing, (language, missing)
        for code in codes:
            assert entries[code]["title"].strip(), code
            assert entries[code]["detail"].strip(), code


def test_both_catalogs_say_the_same_things_with_the_same_parameters() -> None:
    chinese, english = (load_catalogs().of(language).groups for language in ("zh-CN", "en"))
    assert chinese.keys() == english.keys()
    for group, entries in chinese.items():
        assert entries.keys() == english[group].keys(), group
        for code, entry in entries.items():
            other = english[group][code]
            parts = ("title", "detail") if isinstance(entry, dict) else (None,)
            for part in parts:
                here, there = (entry[part], other[part]) if part else (entry, other)
                assert _placeholders(here) == _placeholders(there), (group, code)


def test_catalogs_are_sorted_and_chinese_has_no_exclamation_marks() -> None:
    folder = Path(web.__file__).parent / "locales"
    for name in ("zh-CN", "en"):
        text = (folder / f"{name}.json").read_text(encoding="utf-8")
        assert text == json.dumps(json.loads(text), ensure_ascii=False, indent=2, sort_keys=True) + "\n", name
        assert "!" not in text
        assert "！" not in text


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "zh-CN"),
        ("en-GB,en;q=0.9", "en"),
        ("fr, zh-Hans;q=0.5, en;q=0.3", "zh-CN"),
        ("zh;q=0, en;q=0.1", "en"),
        ("*;q=x,,;", "zh-CN"),
        ("de", "zh-CN"),
    ],
)
def test_the_language_is_what_the_browser_likes_best(header: str, language: str) -> None:
    assert load_catalogs().accept(header).language == language


@pytest.mark.parametrize(
    ("code", "sources"),
    [("camera-redirect", (addresses, line)), ("webrtc-picture-unplayable", (choice,))],
)
def test_a_reason_is_told_in_words(code: str, sources: tuple[ModuleType, ...]) -> None:
    """Whatever codes those give who raise it."""
    reasons = {reason for source in sources for reason in re.findall(r'reason="([a-z-]+)"', inspect.getsource(source))}
    assert len(reasons) > 1
    for language in LANGUAGES:
        catalog = load_catalogs().of(language)
        for reason in reasons:
            assert reason in catalog.groups["reasons"], (language, reason)
            assert catalog.groups["reasons"][reason] in catalog.notice(code, {"reason": reason}).detail
    assert "(other)" in load_catalogs().of("en").notice(code, {"reason": "other"}).detail


def test_a_sentence_survives_a_missing_parameter_and_never_reaches_into_one() -> None:
    catalog = load_catalogs().of("en")
    assert "…" in catalog.notice("camera-unreachable").detail
    hostile = Catalogs(
        {catalog.language: type(catalog)(catalog.language, {"x": {"y": "{a.__class__} {a[0]}"}, "errors": {}})},
        catalog.language,
    ).of("en")
    assert hostile.text("x", "y", {"a": "secret"}) == "… …"


@pytest.mark.parametrize(
    ("seconds", "chinese", "english"),
    [
        (0.4, "0.4 秒", "0.4 s"),
        (59, "59 秒", "59 s"),
        (900, "15 分钟", "15 min"),
        (5400, "1 小时 30 分", "1 h 30 min"),
        (7200, "2 小时", "2 h"),
        (1_234_567, "342 小时 56 分", "342 h 56 min"),
        (None, "None", "None"),
    ],
)
def test_a_length_of_time_is_said_as_people_say_it(seconds: float | None, chinese: str, english: str) -> None:
    for language, words in (("zh-CN", chinese), ("en", english)):
        catalog = load_catalogs().of(language)
        assert words in catalog.notice("locked-out", {"seconds": seconds}).detail
        assert words in catalog.text("story", "gap", {"cause": "", "seconds": seconds})


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code"),
    [
        ("GET", "/api/v1/nowhere", {}, 404, "not-found"),
        ("PATCH", "/api/v1/now", {}, 405, "method-not-allowed"),
        ("GET", "/api/v1/meetings/none", {}, 404, "record-not-found"),
        ("GET", "/api/v1/cameras/none", {}, 404, "not-found"),
        ("POST", "/api/v1/cameras/probe", {"data": b"x" * 300_000}, 413, "body-too-large"),
        ("POST", "/api/v1/meetings", {"data": b"kind=1"}, 415, "body-type"),
        ("POST", "/api/v1/meetings", {"data": b"{"}, 400, "body-invalid"),
        ("POST", "/api/v1/meetings", {"data": b"[]"}, 400, "body-invalid"),
        ("POST", "/api/v1/meetings", {"data": b"\xff\xfe"}, 400, "body-invalid"),
        ("POST", "/api/v1/meetings", {"data": b"[" * 100_000}, 400, "body-invalid"),
        ("POST", "/api/v1/meetings", {"json": {}}, 422, "fields-invalid"),
        ("GET", "/api/v1/meetings?day=2026-13-40", {}, 422, "fields-invalid"),
        ("GET", "/static/none.js", {}, 404, "not-found"),
    ],
)
async def test_each_kind_of_wrong_request(
    service: Service, method: str, path: str, options: dict[str, object], status: int, code: str
) -> None:
    api = await service.logged_in("system")
    headers = {"X-CSRF-Token": api.csrf}
    if code in {"body-invalid", "body-too-large"}:
        headers["Content-Type"] = "application/json"
    response = await api.client.request(method, path, headers=headers, **options)  # type: ignore[arg-type]
    problem = await response.json()
    assert (response.status, problem["code"]) == (status, code), problem
    assert response.content_type == "application/problem+json"
    assert problem["type"] == f"urn:sanhui:problem:{code}"
    assert problem["title"] != code
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_wrong_fields_are_told_each_with_a_sentence(service: Service) -> None:
    api = await service.logged_in("official")
    plan = {
        "kind": "party",
        "organization_id": "village-east",
        "planned_start": "2026-11-21T19:00:00",
        "title": "长" * 200,
        "extra": 1,
    }
    problem = await api.json("POST", "/meetings", 422, json=plan)
    told = {item["field"]: item["title"] for item in problem["errors"]}
    assert told == {
        "kind": "请从列表中选择",
        "planned_start": "时间要带时区",
        "title": "最多 120 个字",
        "extra": "没有这一项",
    }


async def test_rules_of_a_plan_are_told_at_their_fields(service: Service) -> None:
    api = await service.logged_in("official")
    plan = {
        "kind": "members-meeting",
        "organization_id": "village-east",
        "planned_start": "2026-11-21T19:00:00+08:00",
        "planned_end": "2026-11-21T18:00:00+08:00",
        "record": False,
    }
    problem = await api.json("POST", "/meetings", 422, json=plan)
    assert {item["field"] for item in problem["errors"]} == {"planned_end", "no_record_reason", "camera_id"}


@pytest.mark.parametrize(
    ("address", "title"),
    [
        ("http://example.org/", "应像"),
        ("rtsp://169.254.169.254/latest", "不允许"),
        ("rtsp://224.0.0.1/x", "不允许"),
        ("rtsp://0.0.0.0/x", "不允许"),
    ],
)
async def test_an_address_that_may_not_be_connected_to_is_told_at_its_field(
    service: Service, address: str, title: str
) -> None:
    api = await service.logged_in("system")
    camera = {"name": "会议室", "site_id": "hall-east", "address": address}
    problem = await api.json("POST", "/cameras", 422, json=camera)
    assert [item["field"] for item in problem["errors"]] == ["address"]
    assert title in problem["errors"][0]["title"]


class _BrokenError(WebError):
    code = "settings-wrong"
    status = 503


async def test_a_fault_of_ours_shows_an_incident_code_and_is_logged_with_its_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fault(request: http.Request) -> http.Response:
        raise RuntimeError("rtsp://admin:s3cret@10.0.0.1/ is broken")

    async def typed(request: http.Request) -> http.Response:
        raise _BrokenError(setting="x", seconds=7)

    catalog = load_catalogs().of("en")
    app = http.Application(middlewares=[problems.middleware(lambda request: catalog)])
    app.add_routes([http.get("/fault", fault), http.get("/typed", typed)])
    async with TestClient(TestServer(app)) as client:
        with caplog.at_level(logging.ERROR):
            response = await client.get("/fault")
        problem = await response.json()
        assert (response.status, problem["code"]) == (500, "internal")
        assert problem["incident"] in problem["detail"]
        assert "s3cret" not in json.dumps(problem)
        assert "RuntimeError" not in json.dumps(problem)
        busy = await client.get("/typed")
        assert (busy.status, busy.headers["Retry-After"]) == (503, "7")


@pytest.mark.parametrize("kind", [RuntimeError, _BrokenError])
async def test_an_answer_that_breaks_in_the_middle_never_looks_whole(kind: type[Exception]) -> None:
    async def broken(request: http.Request) -> http.StreamResponse:
        answer = http.StreamResponse(headers={"Content-Length": "1000"})
        await answer.prepare(request)
        await answer.write(b"x" * 100)
        raise kind

    catalog = load_catalogs().of("en")
    app = http.Application(middlewares=[problems.middleware(lambda request: catalog)])
    app.on_response_prepare.append(problems.note_begun)
    app.add_routes([http.get("/broken", broken)])
    async with TestClient(TestServer(app)) as client:

        async def read() -> None:
            async with client.get("/broken") as response:
                await response.read()

        with pytest.raises((ClientPayloadError, ServerDisconnectedError, ClientOSError)):
            await read()


async def test_the_pages_answer_with_headers_that_keep_others_out(service: Service) -> None:
    client = service.browser().client
    for path in ("/healthz", "/readyz", "/api/openapi.json", "/"):
        response = await client.get(path, headers={"Accept": "text/html"})
        assert response.headers["X-Content-Type-Options"] == "nosniff", path
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/../pyproject.toml", "/static/..%2f..%2fpyproject.toml", "/%2e%2e/config.py"])
async def test_no_file_outside_of_the_built_pages_is_served(service: Service, path: str) -> None:
    response = await service.browser().client.get(path, headers={"Accept": "text/html"})
    assert "pydantic" not in await response.text()


async def test_ready_tells_which_part_is_not(tmp_path: Path) -> None:
    async with run(settings(tmp_path)) as service:
        await fill(service.services)
        client = service.browser().client
        assert (await client.get("/readyz")).status == 200
        objects = service.services.settings.data_dir / "objects"
        for path in sorted(objects.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        objects.rmdir()
        service.clock.shift_s += 2
        response = await client.get("/readyz")
        assert response.status == 503
        assert "store" in (await response.json())["troubles"]
        assert (await client.get("/healthz")).status == 200


class _Standing:
    """A clock that stands still."""

    def __init__(self, clock: Clock) -> None:
        self._now = clock.utc_ns(), clock.monotonic_ns()

    def utc_ns(self) -> int:
        return self._now[0]

    def monotonic_ns(self) -> int:
        return self._now[1]


async def test_strangers_who_ask_often_cost_the_disk_and_the_loop_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    check = DirectoryStore.check

    async def checked(store: DirectoryStore) -> None:
        asked.append("store")
        await check(store)

    def described(*given: Any) -> Any:
        asked.append("description")
        return openapi.describe(*given)

    monkeypatch.setattr(DirectoryStore, "check", checked)
    monkeypatch.setattr(pages, "describe", described)
    async with run(settings(tmp_path)) as service:
        await until(lambda: "store" in asked, "the service has asked by itself, as it does now and then")
        monkeypatch.setattr(service.clock, "_clock", _Standing(service.clock))
        asked.clear()
        client = service.browser().client
        for path in ("/readyz", "/api/openapi.json"):
            answers = [await client.get(path) for _ in range(10)]
            assert {answer.status for answer in answers} == {200}
        assert asked.count("store") == 1
        assert asked.count("description") <= 1
        service.clock.shift_s += 2
        assert (await client.get("/readyz")).status == 200
        assert asked.count("store") == 2


async def test_what_is_away_is_logged_once_a_minute_and_a_fault_of_ours_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hundred players ask for a camera that is away, each again and again."""
    catalog = load_catalogs().of("en")

    async def away(request: http.Request) -> http.Response:
        raise StreamAwayError("the camera is away", camera="hall")

    async def broken(request: http.Request) -> http.Response:
        raise IntegrityError("other bytes", key="k", expected="a", found="b")

    app = http.Application(middlewares=[problems.middleware(lambda _: catalog)])
    app.router.add_get("/away", away)
    app.router.add_get("/broken", broken)
    async with TestClient(TestServer(app)) as client:

        async def lines(path: str) -> int:
            with capture_logs() as logged:
                for _ in range(20):
                    await client.get(path)
            return len([line for line in logged if line["event"] == "request failed"])

        assert (await lines("/away"), await lines("/broken")) == (1, 20)
        assert await lines("/away") == 0
        monkeypatch.setattr(problems, "_CALM_S", 0.0)
        assert await lines("/away") == 20
