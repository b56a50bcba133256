"""Commands beside the service: people, cameras tried out, the archive checked."""

import asyncio
import contextlib
import getpass
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click
from argon2 import PasswordHasher
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from media.clock import SystemClock
from media.unit import NS_PER_S
from recorder.check import CheckProgress, CheckReport
from recorder.check import check as check_archive
from storage.open_store import open_store_of
from storage.records import AuditEntry, AuditOutcome, Role, User, new_id
from streaming.addresses import AddressGuard, parse_rtsp_url, split_credentials
from streaming.probe import Outcome, probe
from streaming.secret import Secret
from streaming.source import CameraSource, Transport
from web.access.audit import Audit
from web.access.passwords import weakness
from web.api import probe_view
from web.config import Settings
from web.derived import address_policy, store_settings
from web.terminal import (
    Refusal,
    catalog_for,
    config_option,
    console,
    opened_database,
    quiet_log,
    read_settings,
    run,
)

_MARKS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "failed": "[red]✗[/]", "skipped": "[dim]–[/]"}


@click.group()
def user() -> None:
    """People who may log in."""


@user.command("add")
@config_option
@click.argument("username")
@click.option("--name", default="", help="Name to show; empty takes the user name.")
@click.option(
    "--role", type=click.Choice([role.value for role in Role]), default=Role.OFFICIAL.value, show_default=True
)
@click.option("--organization", default=None, help="Id of the organization whose area the person sees; else all.")
@click.option("--password-file", type=click.File("r", encoding="utf-8"), help="File with the password; else asked for.")
def add_user(
    config: Path | None, username: str, name: str, role: str, organization: str | None, password_file: click.File | None
) -> None:
    """Add a person."""
    settings = read_settings(config)
    quiet_log()
    password = _password(settings, username, password_file)
    now = datetime.now(UTC)

    async def work() -> None:
        hashed = await asyncio.to_thread(PasswordHasher().hash, password)
        record = User(
            id=new_id(),
            username=username.lower(),
            display_name=name or username,
            password_hash=hashed,
            role=Role(role),
            organization_id=organization,
            password_changed_at=now,
            created_at=now,
        )
        async with opened_database(settings) as database, database.transaction() as repos:
            await repos.users.add(record)
            await repos.audit.add(_entry("user.create", record))

    run(work, settings)
    console.print(f"[green]✓[/] {escape(username)}")


@user.command("password")
@config_option
@click.argument("username")
@click.option("--password-file", type=click.File("r", encoding="utf-8"), help="File with the password; else asked for.")
def set_password(config: Path | None, username: str, password_file: click.File | None) -> None:
    """Set a person's password, end their sessions, lift a lock."""
    settings = read_settings(config)
    quiet_log()
    password = _password(settings, username, password_file)

    async def work() -> bool:
        hashed = await asyncio.to_thread(PasswordHasher().hash, password)
        async with opened_database(settings) as database, database.transaction() as repos:
            record = await repos.users.by_username(username.lower())
            if record is None:
                return False
            changed = replace(record, password_hash=hashed, password_changed_at=datetime.now(UTC))
            await repos.users.update(changed)
            await repos.users.lock(record.id, None)
            await repos.sessions.delete_of_user(record.id)
            await repos.audit.add(_entry("user.password", record))
        return True

    if not run(work, settings):
        raise Refusal(f"没有用户 {username} · there is no user {username}")
    console.print(f"[green]✓[/] {escape(username)}")


@user.command("list")
@config_option
def list_users(config: Path | None) -> None:
    """Show everybody who may log in."""
    settings = read_settings(config)
    quiet_log()

    async def work() -> tuple[User, ...]:
        async with opened_database(settings) as database, database.read() as repos:
            return await repos.users.all()

    table = Table("user", "name", "role", "organization", "active", "last log-in")
    for record in run(work, settings):
        last = (
            record.last_login_at.astimezone(settings.zone).strftime("%Y-%m-%d %H:%M") if record.last_login_at else "–"
        )
        area = record.organization_id or "–"
        active = "✓" if record.active else "✗"
        table.add_row(escape(record.username), escape(record.display_name), record.role.value, area, active, last)
    console.print(table)


@click.command("probe")
@config_option
@click.argument("address")
@click.option("--username", default="", help="Else the one inside the address.")
@click.option("--password-file", type=click.File("r", encoding="utf-8"), help="Else the one inside the address.")
@click.option("--transport", type=click.Choice(["tcp", "udp"]), default="tcp", show_default=True)
@click.option("--still", type=click.Path(dir_okay=False, path_type=Path), help="Write the picture here (JPEG).")
def probe_camera(
    config: Path | None,
    address: str,
    username: str,
    password_file: click.File | None,
    transport: str,
    still: Path | None,
) -> None:
    """Try a camera out, step by step."""
    settings = read_settings(config)
    quiet_log()
    password = password_file.read().strip() if password_file is not None else None  # type: ignore[attr-defined]

    async def work() -> bool:
        return await _probe(settings, _source(address, username, password, transport), still)

    if not run(work, settings):
        raise SystemExit(1)


def _source(address: str, username: str, password: str | None, transport: str) -> CameraSource:
    text, pasted = split_credentials(address)
    url = parse_rtsp_url(text).url
    secret = Secret(password) if password is not None else pasted.password if pasted else Secret("")
    name = username or (pasted.username if pasted else "")
    return CameraSource(camera_id="probe", url=url, username=name, password=secret, transport=Transport(transport))


async def _probe(settings: Settings, source: CameraSource, still: Path | None) -> bool:
    catalog = catalog_for(settings)
    good = True
    guard = AddressGuard(address_policy(settings))
    with console.status("") as status:
        async with contextlib.aclosing(probe(source, SystemClock(), guard)) as steps:
            async for step in steps:
                event = probe_view.event(step, catalog)
                if step.outcome is Outcome.RUNNING:
                    status.update(step.stage.value)
                    continue
                facts = " · ".join(f"{fact.label} {fact.value}" for fact in event.facts)
                mark = _MARKS[step.outcome.value]
                console.print(f"{mark} {step.stage.value:9} {step.took_ms:6} ms  {escape(facts)}")
                for notice in [*event.advice, *([event.problem] if event.problem else [])]:
                    console.print(f"            [yellow]{escape(notice.title)}[/]: {escape(notice.detail)}")
                if step.still and still is not None:
                    await asyncio.to_thread(still.write_bytes, step.still)
                good = good and step.outcome is not Outcome.FAILED
    return good


@click.command("check")
@config_option
@click.option("--meeting", default=None, help="Id of one meeting; else everything is checked.")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d"]),
    default=None,
    metavar="DATE",
    help="Only what began on this day (2026-11-01, where the service is) or later.",
)
def check_command(config: Path | None, meeting: str | None, since: datetime | None) -> None:
    """Compare rows, objects, hashes and chains. Ends with 1 if anything is wrong."""
    settings = read_settings(config)
    quiet_log()
    since_utc_ns = int(since.replace(tzinfo=settings.zone).timestamp()) * NS_PER_S if since is not None else None
    report = run(lambda: _check(settings, meeting, since_utc_ns), settings)
    _tell(console, settings, report)
    if not report.ok:
        raise SystemExit(1)


async def _check(settings: Settings, meeting: str | None, since_utc_ns: int | None) -> CheckReport:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns[:3], columns[4], console=console, transient=True) as bar:
        task = bar.add_task("核查 · checking", total=None)

        def progress(state: CheckProgress) -> None:
            size = f"{state.bytes / 1e6:,.0f} MB"
            text = f"核查 · checking  {size}" + (f"  [red]{state.findings}[/]" if state.findings else "")
            bar.update(task, completed=state.objects, total=state.total, description=text)

        async with opened_database(settings) as database:
            await database.check()
            async with open_store_of(database, store_settings(settings)) as store:
                await store.check()
                return await check_archive(database, store, progress, meeting_id=meeting, since_utc_ns=since_utc_ns)


def _tell(out: Console, settings: Settings, report: CheckReport) -> None:
    catalog = catalog_for(settings)
    for finding in report.findings:
        place = finding.key or finding.recording
        out.print(f"[red]✗[/] {catalog.text('findings', finding.code.value)}  [dim]{place} {finding.detail}[/]")
    line = catalog.text(
        "findings",
        "summary-good" if report.ok else "summary-bad",
        {
            "recordings": report.recordings,
            "objects": report.objects,
            "segments": report.segments,
            "gaps": report.gaps,
            "size_mb": f"{report.bytes / 1e6:,.1f}",
            "findings": len(report.findings),
        },
    )
    out.print(("[green]✓[/] " if report.ok else "[red]✗[/] ") + line)


def _password(settings: Settings, username: str, file: click.File | None) -> str:
    if file is not None:
        password = str(file.read()).strip()  # type: ignore[attr-defined]
    else:
        password = getpass.getpass("密码 password: ")
    code = weakness(password, username)
    if code is not None:
        raise Refusal(catalog_for(settings).text("fields", code, {"limit": 10}))
    return password


def _entry(action: str, record: User) -> AuditEntry:
    return Audit(SystemClock()).entry(
        None, action, f"user/{record.id}", "terminal", AuditOutcome.SUCCESS, "sanhui", {"name": record.username}
    )


COMMANDS = (user, probe_camera, check_command)
