"""What nobody sends by mistake: each ends in an answer that says so, none in a fault of ours."""

import asyncio
from typing import Any

import pytest

from tests.web.conftest import PASSWORD, Service

MEETING = {"organization_id": "village-east", "kind": "members-meeting", "planned_start": "2026-12-01T00:00:00Z"}


async def raw_get(service: Service, target: str) -> int:
    """The status of a GET for a target that a client's library would mend first."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.server.port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    "target",
    [
        "/static/assets/%00x.js",
        "/static/assets/" + "a" * 3000 + ".js",
        "/static/..%2f..%2fpyproject.toml",
        "/static/../../pyproject.toml",
        "//etc/passwd.txt",
        "/..%2f..%2f..%2fetc/passwd.txt",
    ],
)
async def test_no_path_leads_out_of_the_static_files(service: Service, target: str) -> None:
    assert await raw_get(service, target) == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"username": "\\ud800", "password": "x"}', 422),
        ('{"username": "a\\u0000b", "password": "x"}', 422),
        ('{"username": ' + "1" * 5000 + ', "password": "x"}', 400),
        ("[" * 20_000, 400),
        (b'{"username": "\xff"}', 400),
    ],
)
async def test_a_body_that_cannot_be_read_is_told(service: Service, body: str | bytes, status: int) -> None:
    headers = {"Content-Type": "application/json"}
    response = await service.browser().client.post("/api/v1/session", data=body, headers=headers)
    assert response.status == status, await response.text()


async def test_a_browser_that_calls_itself_odd_things_may_log_in(service: Service) -> None:
    body = {"username": "official", "password": PASSWORD}
    headers = {"User-Agent": b"Mozilla \xff\xfe".decode("utf-8", "surrogateescape")}
    assert (await service.browser().client.post("/api/v1/session", json=body, headers=headers)).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/meetings?day=9999-12-31",
        "/meetings?day=0001-01-01",
        "/calendar?month=0000-01",
        "/calendar?month=9999-12",
        "/calendar?month=２０２６-01",
    ],
)
async def test_days_beyond_all_calendars_are_refused(service: Service, path: str) -> None:
    assert (await (await service.logged_in("official")).call("GET", path)).status == 422


@pytest.mark.parametrize("before", ["9" * 40, "²", "-1"])
async def test_a_page_of_the_log_that_cannot_be(service: Service, before: str) -> None:
    auditor = await service.logged_in("auditor")
    assert (await auditor.call("GET", "/audit", params={"before": before})).status == 422


@pytest.mark.parametrize(
    "change",
    [
        {"planned_start": "9999-12-31T23:00:00Z"},
        {"planned_start": "0001-01-01T00:00:00+08:00"},
        {"title": "党课\0"},
    ],
)
async def test_a_plan_that_would_break_every_list_is_refused(service: Service, change: dict[str, Any]) -> None:
    official = await service.logged_in("official")
    problem = await official.json("POST", "/meetings", 422, json={**MEETING, **change})
    assert next(iter(change)) in {error["field"] for error in problem["errors"]}


async def test_an_id_with_nul_is_nobodys(service: Service) -> None:
    official = await service.logged_in("official")
    assert (await official.call("GET", "/meetings/a%00b")).status == 404


async def answer_to(service: Service, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.server.port)
    writer.write(sent)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize("host", [b"a:b", b"[::1", b"a:99999", b"a b", b"\xff\xfe", b"a/b", b""])
async def test_a_host_that_is_none_is_no_fault_of_ours(service: Service, host: bytes) -> None:
    api = await service.logged_in("official")
    cookie = "; ".join(f"{item.key}={item.value}" for item in api.client.session.cookie_jar)
    for path in ("/api/v1/cameras", "/api/v1/events"):
        answer = await answer_to(
            service,
            f"GET {path} HTTP/1.1\r\nCookie: {cookie}\r\nConnection: close\r\nHost: ".encode() + host + b"\r\n\r\n",
        )
        assert int(answer.split(b" ", 2)[1]) < 500, answer


@pytest.mark.parametrize(
    "body",
    [
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\nnonsense\r\n",
        b"Content-Encoding: gzip\r\nContent-Length: 8\r\n\r\nnonsense",
        b"Content-Encoding: deflate\r\nContent-Length: 8\r\n\r\nnonsense",
    ],
)
async def test_a_body_that_is_not_what_its_head_says(service: Service, body: bytes) -> None:
    head = (
        b"POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    )
    answer = await answer_to(service, head + body)
    assert int(answer.split(b" ", 2)[1]) == 400, answer


async def test_a_register_with_nul_is_refused(service: Service) -> None:
    system = await service.logged_in("system")
    camera = {"name": "会议室", "site_id": "hall-east", "address": "rtsp://127.0.0.1:9/x"}
    problem = await system.json("POST", "/cameras", 422, json={**camera, "registration": {"purpose": "a\0b"}})
    assert [error["field"] for error in problem["errors"]] == ["registration.purpose"]
    problem = await system.json("POST", "/cameras", 422, json={**camera, "address": "rtsp://a%00b:c@127.0.0.1:9/x"})
    assert [error["field"] for error in problem["errors"]] == ["username"]


@pytest.mark.parametrize(
    "path",
    [b"/api/v1/meetings/\xff", b"/api/v1/meetings/%ff", b"/api/v1/meetings/%ed%a0%80", b"/api/v1/meetings?search=\xff"],
)
async def test_an_address_that_is_no_text_is_no_fault_of_ours(service: Service, path: bytes) -> None:
    api = await service.logged_in("official")
    cookie = "; ".join(f"{item.key}={item.value}" for item in api.client.session.cookie_jar).encode()
    head = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: " + cookie + b"\r\n\r\n"
    answer = await answer_to(service, b"GET " + path + head)
    assert 200 <= int(answer.split(b" ", 2)[1]) < 500, answer
