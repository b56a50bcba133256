"""``sanhui demo``: a sample county with simulated cameras, ready to be looked at."""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from storage.database import Database
from storage.records import (
    Camera,
    Meeting,
    MeetingKind,
    MeetingState,
    Organization,
    OrganizationLevel,
    Role,
    Site,
    User,
    new_id,
)
from storage.repositories import Repositories
from storage.revisions import bring_to_head
from storage.secrets import SecretBox
from web.access.scopes import FIRST_ADMINISTRATOR_EXTRA
from web.config import LogFormat, LogLevel, Settings
from web.errors import WebError
from web.logging import configure_logging
from web.secret_keys import first_keys, read_keys
from web.serving import Running, serve
from web.settings_source import load_settings

PASSWORD = "Sanhui-Demo-2026"
CAMERA_USER = "admin"
_CAMERA_PATIENCE_S = 60.0
_FIRST_MEETING = timedelta(seconds=5)


class DemoError(WebError):
    """The demonstration cannot be set up."""

    code = "demo-failed"


@dataclass(frozen=True, slots=True)
class Village:
    """A village of the sample county."""

    id: str
    town: str
    name: str
    site: str
    address: str
    camera: str
    kind: MeetingKind
    title: str
    starts_in: timedelta


TOWNS = {"qingxi": "清溪镇党委", "shiqiao": "石桥镇党委", "qingshan": "青山乡党委"}
VILLAGES = (
    Village(
        "liushuwan",
        "qingxi",
        "柳树湾村党支部",
        "党群服务中心会议室",
        "清溪镇柳树湾村 12 号",
        "会议室正面",
        MeetingKind.MEMBERS,
        "支部党员大会：讨论村集体经济收益分配",
        _FIRST_MEETING,
    ),
    Village(
        "dahuaishu",
        "shiqiao",
        "大槐树村党支部",
        "村委会二楼会议室",
        "石桥镇大槐树村",
        "主席台",
        MeetingKind.COMMITTEE,
        "支委会：研究发展党员工作",
        timedelta(minutes=45),
    ),
    Village(
        "zhuyuan",
        "qingshan",
        "竹园村党支部",
        "竹园村活动室",
        "青山乡竹园村",
        "活动室",
        MeetingKind.LECTURE,
        "党课：乡村治理中的党员作用",
        timedelta(minutes=90),
    ),
)
PEOPLE = (
    ("county", "王敏", Role.OFFICIAL, None),
    ("qingxi", "李强", Role.OFFICIAL, "qingxi"),
    ("admin", "系统管理员", Role.SYSTEM_ADMINISTRATOR, None),
    ("auditor", "审计员", Role.AUDITOR, None),
)


async def run_demo(console: Console, data: Path, port: int, *, fresh: bool) -> None:
    """Set the sample county up and serve it until Ctrl-C."""
    if fresh:
        await asyncio.to_thread(shutil.rmtree, data, ignore_errors=True)
    await asyncio.to_thread(data.mkdir, 0o700, parents=True, exist_ok=True)
    async with contextlib.AsyncExitStack() as stack:
        bar = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console
        )
        with bar:
            step = bar.add_task("准备数据 · preparing data", total=4)
            settings = demo_settings(os.environ, data, port)
            log = stack.enter_context((data / "sanhui.log").open("a", encoding="utf-8"))
            configure_logging(LogLevel.INFO, LogFormat.JSON, settings.node, log)
            await asyncio.to_thread(bring_to_head, settings.database_address)
            bar.update(step, advance=1, description="启动三路模拟摄像机 · starting three simulated cameras")
            password = secrets.token_urlsafe(9) + "@:/汉字"
            addresses = await stack.enter_async_context(simulated_cameras(len(VILLAGES), password))
            bar.update(step, advance=1, description="建立示例县 · making the sample county")
            await fill(settings, addresses, password)
            bar.update(step, advance=1, description="启动服务 · starting the service")

            async def started(running: Running) -> None:
                bar.update(step, advance=1, description="就绪 · ready")
                bar.stop()
                console.print(_welcome(running.url, data))

            # Chosen anew now: a port that was free at the beginning may be taken since.
            await serve(demo_settings(os.environ, data, port), started)
        console.print("已停止，录像都已存好 · stopped, everything recorded is kept")


def demo_settings(environ: Mapping[str, str], data: Path, port: int) -> Settings:
    """Settings of the demonstration; what the environment sets goes before."""
    preset: dict[str, Any] = {
        "data_dir": data,
        "http_port": free_port(port),
        "rtsp_port": free_port(8554),
        "webrtc_port": free_port(8189),
        "camera_allow_loopback": True,
        "demo": True,
    }
    given = {name for name in preset if environ.get(f"SANHUI_{name.upper()}")}
    return load_settings(environ, **{name: value for name, value in preset.items() if name not in given})


def free_port(first: int) -> int:
    """``first`` or the next one above it that nobody listens on."""
    for port in range(first, first + 50):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    return 0


@contextlib.asynccontextmanager
async def simulated_cameras(count: int, password: str) -> AsyncIterator[list[tuple[str, str]]]:
    """Cameras in a process of their own: the RTSP addresses of main and sub stream, once they can be reached."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "streaming.simulator",
        "--count",
        str(count),
        "--user",
        CAMERA_USER,
        "--subs",
        "--with-parent",
        env={**os.environ, "SIMULATOR_PASSWORD": password},
        stdout=asyncio.subprocess.PIPE,
        # Ctrl-C is for the service, which says good-bye to its cameras itself.
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        addresses: list[tuple[str, str]] = []
        try:
            async with asyncio.timeout(_CAMERA_PATIENCE_S):
                while len(addresses) < count:
                    line = await process.stdout.readline()
                    if not line:
                        raise DemoError(reason="the simulated cameras did not start")
                    said = json.loads(line)
                    addresses.append((said["url"], said["sub_url"]))
        except TimeoutError:
            raise DemoError(reason="the simulated cameras did not start in time") from None
        yield addresses
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def fill(settings: Settings, addresses: list[tuple[str, str]], password: str) -> None:
    """Make the county if it is not there; point its cameras to ``addresses``; plan today's meetings."""
    now = datetime.now(UTC)
    password_hash = await asyncio.to_thread(PasswordHasher().hash, PASSWORD)
    async with Database(settings.database_address) as database:
        keys = await asyncio.to_thread(read_keys, settings.key_file) or await first_keys(settings.key_file, database)
        box = SecretBox(keys)
        async with database.transaction() as repos:
            if await repos.users.by_username("county") is None:
                await _add_county(repos, password_hash, now)
            for village, (address, sub) in zip(VILLAGES, addresses, strict=True):
                await _put_camera(repos, village, address, sub, box.seal(password, f"cam-{village.id}"), now)
            await _plan(repos, now)


async def _add_county(repos: Repositories, password_hash: str, now: datetime) -> None:
    county = Organization(id="yunling", parent_id=None, level=OrganizationLevel.COUNTY, name="云岭县委组织部")
    await repos.organizations.add(county)
    for place, (town, name) in enumerate(TOWNS.items()):
        await repos.organizations.add(
            Organization(id=town, parent_id=county.id, level=OrganizationLevel.TOWN, name=name, position=place)
        )
    for village in VILLAGES:
        await repos.organizations.add(
            Organization(id=village.id, parent_id=village.town, level=OrganizationLevel.VILLAGE, name=village.name)
        )
        site = Site(id=f"site-{village.id}", organization_id=village.id, name=village.site, address=village.address)
        await repos.sites.add(site)
    for username, name, role, area in PEOPLE:
        first = role is Role.SYSTEM_ADMINISTRATOR
        await repos.users.add(
            User(
                id=new_id(),
                username=username,
                display_name=name,
                password_hash=password_hash,
                role=role,
                scopes=tuple(scope.value for scope in FIRST_ADMINISTRATOR_EXTRA) if first else (),
                organization_id=area,
                password_changed_at=now,
                created_at=now,
            )
        )


async def _put_camera(
    repos: Repositories, village: Village, address: str, sub: str, sealed: str, now: datetime
) -> None:
    camera = Camera(
        id=f"cam-{village.id}",
        site_id=f"site-{village.id}",
        name=village.camera,
        url=address,
        sub_url=sub,
        username=CAMERA_USER,
        password_encrypted=sealed,
        purpose="“三会一课”现场指导与过程留存",
        legal_basis="《中国共产党支部工作条例（试行）》",
        notice="会议室入口",
        filing_number="演示",
        created_at=now,
        updated_at=now,
    )
    if any(place.camera.id == camera.id for place in await repos.cameras.places()):
        await repos.cameras.update(camera)
    else:
        await repos.cameras.add(camera)


async def _plan(repos: Repositories, now: datetime) -> None:
    """One meeting that starts at once and two for later, where nothing is planned or running yet."""
    running = {item.camera.id for item in await repos.meetings.running()}
    ahead = await repos.meetings.between(now - timedelta(hours=6), now + timedelta(hours=12))
    for item in ahead:
        # What an earlier demonstration planned and nobody held would all begin at once.
        if item.meeting.state is MeetingState.PLANNED:
            await repos.meetings.cancel(item.meeting.id)
    for village in VILLAGES:
        camera_id = f"cam-{village.id}"
        if camera_id in running:
            continue
        starts = now + village.starts_in
        await repos.meetings.add(
            Meeting(
                id=new_id(),
                organization_id=village.id,
                site_id=f"site-{village.id}",
                camera_id=camera_id,
                kind=village.kind,
                title=village.title,
                planned_start=starts,
                planned_end=starts + timedelta(hours=2),
                created_at=now,
            )
        )


def _welcome(url: str, data: Path) -> Panel:
    lines = [
        f"[bold]{url}[/]",
        "",
        f"县级干部  official        [bold]county[/]   {PASSWORD}",
        f"镇级干部  town official   [bold]qingxi[/]   {PASSWORD}",
        f"管理员    administrator   [bold]admin[/]    {PASSWORD}",
        "",
        "柳树湾村的会议几秒后自动开始 · a meeting begins by itself within seconds",
        f"日志 log  {data / 'sanhui.log'}      Ctrl-C 停止 to stop",
    ]
    return Panel("\n".join(lines), title="三会 Sanhui", border_style="red", expand=False, padding=(1, 3))
