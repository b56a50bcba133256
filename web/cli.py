"""The command ``sanhui``."""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from storage.revisions import bring_to_head, current_revision
from web import cli_secrets, cli_tools
from web.api.session import make_setup_token
from web.config import Settings
from web.demo import run_demo
from web.logging import configure_logging
from web.serving import Running
from web.serving import serve as serve_app
from web.settings_source import settings_markdown
from web.terminal import Refusal, config_option, console, opened_database, read_settings, run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sanhui")
def main() -> None:
    """Sanhui 三会: meeting video and live supervision for village party branches."""


@main.command()
@config_option
def serve(config: Path | None) -> None:
    """Run the service. The first start prints a one-time link to create the administrator."""
    settings = read_settings(config)
    configure_logging(settings.log_level, settings.log_format, settings.node, sys.stdout)

    async def work() -> None:
        async def started(running: Running) -> None:
            link = await setup_link(settings, running)
            if link is not None:
                tell_link(settings, link)

        await serve_app(settings, started)

    run(work, settings)


async def setup_link(settings: Settings, running: Running) -> str | None:
    """A fresh one-time link if there is no user yet."""
    token = await make_setup_token(running.services.database, datetime.now(UTC), settings.setup_link_h)
    return f"{running.url}/setup/{token}" if token else None


def tell_link(settings: Settings, link: str) -> None:
    """Print the link to the terminal, never to the log."""
    chinese = settings.language == "zh-CN"
    text = (
        "首次使用：打开下面的链接创建管理员" if chinese else "First start: open this link to create the administrator"
    )
    hours = (
        f"{settings.setup_link_h} 小时内有效，只能用一次"
        if chinese
        else f"good once, for {settings.setup_link_h} hours"
    )
    print(f"\n{text} ({hours})\n\n    {link}\n", flush=True)


@main.command("setup-link")
@config_option
def setup_link_command(config: Path | None) -> None:
    """Print a new one-time link to create the first administrator."""
    settings = read_settings(config)

    async def work() -> str | None:
        async with opened_database(settings) as database:
            return await make_setup_token(database, datetime.now(UTC), settings.setup_link_h)

    token = run(work, settings)
    if token is None:
        raise Refusal("已经有用户了，请用管理员账号登录。\n  There is a user already: log in as an administrator.")
    base = settings.public_url or f"http://localhost:{settings.http_port}"
    tell_link(settings, f"{base}/setup/{token}")


@main.command()
@config_option
def migrate(config: Path | None) -> None:
    """Bring the database's schema to this version. `serve` does so by itself."""
    settings = read_settings(config)

    async def work() -> str | None:
        with console.status("数据库升级 · upgrading the database"):
            await asyncio.to_thread(bring_to_head, settings.database_address)
        return await asyncio.to_thread(current_revision, settings.database_address)

    console.print(f"[green]✓[/] {run(work, settings)}")


@main.command("settings")
@config_option
@click.option("--docs", is_flag=True, help="Print docs/settings.md instead.")
def show_settings(config: Path | None, docs: bool) -> None:
    """Check the settings and print those in force, secrets starred."""
    if docs:
        click.echo(settings_markdown(), nl=False)
        return
    settings = read_settings(config)
    for name, value in settings.model_dump(mode="json").items():
        console.print(f"{name} = {value}", highlight=False, markup=False)


@main.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), default=Path("demo-data"), show_default=True)
@click.option("--port", type=int, default=8080, show_default=True, help="The next free one if it is taken.")
@click.option("--fresh", is_flag=True, help="Empty the data folder first.")
def demo(data: Path, port: int, fresh: bool) -> None:
    """Run Sanhui with a sample county and three simulated cameras."""
    run(lambda: run_demo(console, data, port, fresh=fresh), read_settings(None))


for _command in (*cli_tools.COMMANDS, cli_secrets.secrets):
    main.add_command(_command)

if __name__ == "__main__":
    main()
