"""Log-in, lock-out, CSRF, idle and total lifetime, log-out, set-up link."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from storage.repositories.people import UserSessionRepository
from tests.web.conftest import PASSWORD, Api, Service, fill, run, settings
from web.access.sessions import token_hash
from web.api.session import make_setup_token

NEW_PASSWORD = "另一个-Password-7"


async def test_log_in_shows_who_one_is_and_sets_a_cookie_no_script_can_read(service: Service) -> None:
    api = service.browser()
    response = await api.call("POST", "/session", json={"username": " East ", "password": PASSWORD})
    body = await response.json()
    cookie = response.headers["Set-Cookie"]
    assert response.status == 200
    assert (body["user"]["username"], body["user"]["organization"]["name"]) == ("east", "东镇党委")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert PASSWORD not in await response.text()
    again = await api.json("GET", "/session")
    assert again["csrf_token"] == body["csrf_token"]


async def test_only_hashes_are_stored(service: Service) -> None:
    api = service.browser()
    response = await api.call("POST", "/session", json={"username": "east", "password": PASSWORD})
    token = response.cookies["sanhui_session"].value
    csrf = (await response.json())["csrf_token"]
    stored = b"".join(
        path.read_bytes() for path in service.services.settings.data_dir.glob("sanhui.db*") if path.is_file()
    )
    assert b"u-east" in stored
    for secret in (token, csrf, PASSWORD):
        assert secret.encode() not in stored


async def test_without_a_session_a_person_is_asked_to_log_in(service: Service) -> None:
    response = await service.browser().call("GET", "/now", headers={"Accept-Language": "en"})
    problem = await response.json()
    assert response.status == 401
    assert response.content_type == "application/problem+json"
    assert (problem["code"], problem["title"]) == ("not-logged-in", "Please log in")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("username", ["official", "nobody"])
async def test_lock_out_after_failures_grows_and_is_the_same_for_names_nobody_has(
    service: Service, username: str
) -> None:
    api = service.browser()

    async def attempt(password: str = "wrong") -> tuple[int, dict[str, object]]:
        response = await api.call("POST", "/session", json={"username": username, "password": password})
        return response.status, await response.json()

    for left in (4, 3, 2, 1):
        status, problem = await attempt()
        assert (status, problem["code"]) == (401, "login-failed")
        assert str(left) in str(problem["detail"])
    status, problem = await attempt()
    assert (status, problem["code"], problem["retry_after_s"]) == (429, "locked-out", 60)
    assert (await attempt(PASSWORD))[0] == 429
    service.clock.shift_s += 61
    assert (await attempt())[1]["retry_after_s"] == 120
    service.clock.shift_s += 121
    assert (await attempt(PASSWORD))[0] == (200 if username == "official" else 429)


async def test_many_guesses_at_once_meet_the_same_lock(service: Service) -> None:
    async def attempt(password: str) -> int:
        body = {"username": "official", "password": password}
        return (await service.browser().call("POST", "/session", json=body)).status

    # The right one is the last of the queue: when its turn comes the name is locked.
    guesses = await asyncio.gather(*(attempt(f"wrong-{index}") for index in range(12)), attempt(PASSWORD))
    assert guesses.count(401) == 4
    assert guesses[-1] == 429


async def test_a_good_log_in_clears_the_count(service: Service) -> None:
    api = service.browser()
    for _ in range(4):
        await api.call("POST", "/session", json={"username": "official", "password": "wrong"})
    await api.log_in("official")
    response = await api.call("POST", "/session", json={"username": "official", "password": "wrong"})
    assert (await response.json())["code"] == "login-failed"


async def test_a_disabled_person_is_refused(service: Service) -> None:
    east = await service.logged_in("east")
    security = await service.logged_in("security")
    update = {"display_name": "E", "role": "official", "organization_id": "town-east", "enabled": False}
    await security.json("PUT", "/users/u-east", json=update)
    assert (await east.call("GET", "/session")).status == 401
    response = await east.call("POST", "/session", json={"username": "east", "password": PASSWORD})
    assert (response.status, (await response.json())["code"]) == (401, "login-failed")


async def test_changing_needs_the_csrf_token(service: Service) -> None:
    api = await service.logged_in("official")
    good, api.csrf = api.csrf, "0" * 64
    response = await api.call("PUT", "/session", json={"language": "en"})
    assert (response.status, (await response.json())["code"]) == (403, "csrf-wrong")
    api.csrf = good
    assert (await api.json("PUT", "/session", json={"language": "en"}))["user"]["language"] == "en"


async def test_another_site_cannot_log_a_browser_in(service: Service) -> None:
    response = await service.browser().call(
        "POST",
        "/session",
        json={"username": "official", "password": PASSWORD},
        headers={"Sec-Fetch-Site": "cross-site"},
    )
    assert (response.status, (await response.json())["code"]) == (403, "csrf-wrong")


async def test_a_bearer_needs_no_csrf_token(service: Service) -> None:
    first = service.browser()
    response = await first.call("POST", "/session", json={"username": "official", "password": PASSWORD})
    bearer = {"Authorization": f"Bearer {response.cookies['sanhui_session'].value}"}
    other = service.browser()
    body = await other.json("PUT", "/session", json={"language": "en"}, headers=bearer)
    assert body["user"]["username"] == "official"


async def test_a_session_ends_when_idle_and_in_any_case(service: Service) -> None:
    api = await service.logged_in("official")
    service.clock.shift_s += 50 * 60
    await api.json("GET", "/session")
    service.clock.shift_s += 50 * 60
    await api.json("GET", "/session")
    service.clock.shift_s += 61 * 60
    await api.json("GET", "/session", status=401)

    await api.log_in("official")
    for _ in range(14):
        service.clock.shift_s += 50 * 60
        assert (await api.json("GET", "/session"))["user"]["username"] == "official"
    service.clock.shift_s += 50 * 60
    assert (await api.json("GET", "/session", status=401))["code"] == "not-logged-in"


@pytest.mark.parametrize("by_itself", [{"X-Background": "1"}, {"Sec-Fetch-Dest": "image"}], ids=["poll", "still"])
async def test_a_page_that_refreshes_itself_keeps_no_session_open(service: Service, by_itself: dict[str, str]) -> None:
    api = await service.logged_in("official")
    for _ in range(5):
        service.clock.shift_s += 10 * 60
        await api.json("GET", "/now", headers=by_itself)
    # Right after a refresh filled the cache, a click still counts.
    await api.json("GET", "/now")
    service.clock.shift_s += 55 * 60
    await api.json("GET", "/now", headers=by_itself)
    service.clock.shift_s += 6 * 60
    assert (await api.json("GET", "/now", 401, headers=by_itself))["code"] == "not-logged-in"


async def test_logging_out_ends_the_session_on_the_server(service: Service) -> None:
    api = service.browser()
    response = await api.call("POST", "/session", json={"username": "official", "password": PASSWORD})
    api.csrf = (await response.json())["csrf_token"]
    bearer = {"Authorization": f"Bearer {response.cookies['sanhui_session'].value}"}
    await api.json("DELETE", "/session", status=204)
    assert (await service.browser().call("GET", "/session", headers=bearer)).status == 401


@pytest.mark.parametrize("ends", ["log-out", "password"])
async def test_a_session_that_ends_while_it_is_looked_up_is_over(
    service: Service, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    sessions = service.services.sessions
    response = await service.browser().call("POST", "/session", json={"username": "official", "password": PASSWORD})
    token = response.cookies["sanhui_session"].value
    read, ended = asyncio.Event(), asyncio.Event()
    find = UserSessionRepository.find

    async def slowly(repository: UserSessionRepository, key: str) -> Any:
        found = await find(repository, key)
        read.set()
        await ended.wait()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(UserSessionRepository, "find", slowly)
        asked = asyncio.create_task(sessions.find(token, by_cookie=True))
        await read.wait()
        if ends == "log-out":
            await sessions.close(token_hash(token))
        else:
            async with service.services.database.transaction() as repos:
                await repos.sessions.delete_of_user("u-official")
            sessions.forget("u-official")
        ended.set()
        assert await asked is None
    assert await sessions.find(token, by_cookie=True) is None


async def test_changing_the_password_ends_other_sessions(service: Service) -> None:
    here, there = await service.logged_in("official"), await service.logged_in("official")
    refused = await here.call("POST", "/session/password", json={"old_password": "wrong", "new_password": NEW_PASSWORD})
    assert (await refused.json())["errors"][0]["field"] == "old_password"
    body = await here.json("POST", "/session/password", json={"old_password": PASSWORD, "new_password": NEW_PASSWORD})
    here.csrf = body["csrf_token"]
    await here.json("GET", "/session")
    await there.json("GET", "/session", status=401)
    await there.log_in("official", NEW_PASSWORD)


@pytest.mark.parametrize(
    ("password", "title"),
    [("short-A1", "至少 10 个字"), ("alllowercase", "太容易"), ("Official-12345", "用户名")],
)
async def test_a_weak_password_is_refused_with_a_reason(service: Service, password: str, title: str) -> None:
    api = await service.logged_in("official")
    response = await api.call("POST", "/session/password", json={"old_password": PASSWORD, "new_password": password})
    problem = await response.json()
    assert response.status == 422
    assert problem["errors"][0]["field"] == "new_password"
    assert title in problem["errors"][0]["title"]


async def test_the_setup_link_works_once(empty: Service) -> None:
    api, services = empty.browser(), empty.services
    assert (await api.json("GET", "/about"))["setup_needed"] is True
    token = await make_setup_token(services.database, services.sessions.now(), 24)
    await api.json("GET", f"/setup/{token}")
    setup = {"county_name": "清河县", "username": "admin", "display_name": "管理员", "password": "Very-Good-123"}
    weak = await api.call("POST", f"/setup/{token}", json={**setup, "password": "Admin-12345"})
    assert weak.status == 422
    body = await api.json("POST", f"/setup/{token}", json=setup)
    assert {"users:write", "cameras:write", "audit:read"} <= set(body["user"]["scopes"])
    assert (await api.json("GET", "/organizations"))["roots"][0]["name"] == "清河县"
    assert (await api.call("GET", f"/setup/{token}")).status == 410
    assert (await empty.browser().call("POST", f"/setup/{token}", json=setup)).status == 410
    assert (await api.json("GET", "/about"))["setup_needed"] is False
    assert await make_setup_token(services.database, services.sessions.now(), 24) is None


async def test_a_setup_link_grows_old_and_a_new_one_replaces_it(empty: Service) -> None:
    api, services = empty.browser(), empty.services
    first = await make_setup_token(services.database, services.sessions.now(), 1)
    second = await make_setup_token(services.database, services.sessions.now(), 1)
    assert (await api.call("GET", f"/setup/{first}")).status == 410
    assert (await api.call("GET", f"/setup/{second}")).status == 200
    empty.clock.shift_s += 3601
    assert (await api.call("GET", f"/setup/{second}")).status == 410


async def test_the_cookie_is_secure_behind_a_proxy_that_speaks_https(tmp_path: Path) -> None:
    async with run(settings(tmp_path, trusted_proxies="127.0.0.0/8")) as service:
        await fill(service.services)
        api = service.browser()
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "6.6.6.6, 203.0.113.9"}
        body = {"username": "security", "password": PASSWORD}
        response = await api.call("POST", "/session", json=body, headers=headers)
        assert "Secure" in response.headers["Set-Cookie"]
        assert "Strict-Transport-Security" in response.headers
        # HAProxy adds a field of its own instead of a value to the one there is.
        twice = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "203.0.113.9")]
        await service.browser().client.post("/api/v1/session", json=body, headers=twice)
        assert (await service.browser().client.get("/metrics")).status == 200
        assert (await service.browser().client.get("/metrics", headers={"X-Forwarded-For": "::1"})).status == 403
        plain = service.browser()
        await plain.log_in("security")
        page = await plain.json("GET", "/audit", params={"action": "login"})
        assert {item["address"] for item in page["items"]} == {"203.0.113.9", "127.0.0.1"}


class Held:
    """A request whose head is sent at once and whose body when it is let go."""

    def __init__(self, api: Api, method: str, path: str, body: bytes) -> None:
        self._go = asyncio.Event()
        self._begun = asyncio.Event()
        self._body = body
        headers = {"Content-Type": "application/json"}
        self._task = asyncio.create_task(api.call(method, path, data=self._parts(), headers=headers))

    async def _parts(self) -> AsyncIterator[bytes]:
        yield self._body[:1]
        self._begun.set()
        await self._go.wait()
        yield self._body[1:]

    async def begun(self, service: Service) -> None:
        """Its head has come."""
        await self._begun.wait()
        # Whatever else is asked on the same connections has been answered after it.
        for _ in range(20):
            await service.browser().json("GET", "/about")

    async def answer(self) -> Any:
        self._go.set()
        return await self._task


async def test_a_body_that_is_held_back_brings_no_rights_back(service: Service) -> None:
    east, security = await service.logged_in("east"), await service.logged_in("security")
    held = Held(east, "PUT", "/session", b'{"language": "en"}')
    await held.begun(service)
    lowered = {"display_name": "E", "role": "viewer", "organization_id": "town-west", "enabled": False}
    await security.json("PUT", "/users/u-east", json=lowered)
    assert (await held.answer()).status == 401
    (person,) = [item for item in (await security.json("GET", "/users"))["items"] if item["id"] == "u-east"]
    assert (person["enabled"], person["role"], person["organization"]["id"]) == (False, "viewer", "town-west")


async def test_what_two_people_change_at_once_is_changed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password takes a while to be hashed: meanwhile somebody else disables the person."""
    security, other = await service.logged_in("security"), await service.logged_in("security")
    hashing, go = asyncio.Event(), asyncio.Event()
    hash_of = service.services.passwords.hash

    async def slowly(password: str) -> str:
        hashing.set()
        await go.wait()
        return await hash_of(password)

    monkeypatch.setattr(service.services.passwords, "hash", slowly)
    reset = asyncio.create_task(security.json("POST", "/users/u-east/password", json={"password": NEW_PASSWORD}))
    await hashing.wait()
    disabled = {"display_name": "E", "role": "official", "organization_id": "town-east", "enabled": False}
    await other.json("PUT", "/users/u-east", json=disabled)
    go.set()
    assert (await reset)["enabled"] is False


async def test_a_password_that_was_reset_meanwhile_is_not_taken_back(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    east, security = await service.logged_in("east"), await service.logged_in("security")
    hashing, go = asyncio.Event(), asyncio.Event()
    hash_of = service.services.passwords.hash

    async def slowly(password: str) -> str:
        if password == "Stolen-Again-1":
            hashing.set()
            await go.wait()
        return await hash_of(password)

    monkeypatch.setattr(service.services.passwords, "hash", slowly)
    change = {"old_password": PASSWORD, "new_password": "Stolen-Again-1"}
    stolen = asyncio.create_task(east.call("POST", "/session/password", json=change))
    await hashing.wait()
    await security.json("POST", "/users/u-east/password", json={"password": NEW_PASSWORD})
    go.set()
    assert (await stolen).status == 422
    await service.browser().log_in("east", NEW_PASSWORD)


async def test_the_old_password_is_not_guessed_in_an_open_session(service: Service) -> None:
    api = await service.logged_in("east")

    async def guess(password: str) -> int:
        body = {"old_password": password, "new_password": NEW_PASSWORD}
        return (await api.call("POST", "/session/password", json=body)).status

    assert [await guess(f"wrong-{number}") for number in range(6)] == [422] * 4 + [429] * 2
    assert await guess(PASSWORD) == 429
    service.clock.shift_s += 61
    assert await guess(PASSWORD) == 200

    auditor = await service.logged_in("auditor")
    page = await auditor.json("GET", "/audit", params={"person_id": "u-east"})
    told = [(item["action"], item["outcome"]) for item in reversed(page["items"])]
    wrong, locked = ("password.change-failed", "failure"), ("login-locked", "failure")
    assert told[1:] == [*[wrong] * 4, *[locked] * 3, ("password.change", "success")]


async def test_a_page_that_knows_of_no_session_may_log_in_and_show_a_code(service: Service) -> None:
    east = await service.logged_in("east")
    page = Api(east.client)
    assert (await page.json("POST", "/room/pairing"))["state"] == "waiting"
    assert (await page.log_in("official"))["user"]["username"] == "official"
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    await Api(east.client).json("POST", "/room/pairing", 403, headers=elsewhere)
