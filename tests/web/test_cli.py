"""The command ``sanhui``: a wrong setting, the set-up link, people, the archive checked, a graceful end."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from storage.migrate import upgrade
from web.cli import main
from web.demo import demo_settings, free_port
from web.logging import redact_text


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("SANHUI_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SANHUI_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def _run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def test_a_wrong_setting_ends_the_start_with_a_sentence_and_no_trace(tmp_path: Path) -> None:
    environ = {**os.environ, "SANHUI_DATA_DIR": str(tmp_path), "SANHUI_RTSP_PORT": "many"}
    done = subprocess.run(
        [sys.executable, "-m", "web.cli", "serve"], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "设置 SANHUI_RTSP_PORT 不对" in done.stderr
    assert "The setting SANHUI_RTSP_PORT is wrong" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_the_service_starts_prints_its_link_answers_and_ends_when_told(tmp_path: Path) -> None:
    environ = {
        **os.environ,
        "SANHUI_DATA_DIR": str(tmp_path / "data"),
        "SANHUI_HTTP_PORT": "0",
        "SANHUI_RTSP_PORT": "0",
        "SANHUI_WEBRTC_PORT": "0",
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "web.cli", "serve"], env=environ, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        link, lines = None, []
        for line in process.stdout:
            lines.append(line)
            link = re.search(r"(http://localhost:\d+)/setup/([\w-]{40,})", line)
            if link is not None:
                break
        assert link is not None, lines
        assert (tmp_path / "data").stat().st_mode & 0o077 == 0
        with urllib.request.urlopen(f"{link[1]}/readyz", timeout=10) as response:
            assert response.status == 200
        with urllib.request.urlopen(f"{link[1]}/api/v1/setup/{link[2]}", timeout=10) as response:
            assert response.status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0, rest
    assert "***" in redact_text(link[0])
    log = [line for line in lines + rest.splitlines() if line.startswith("{")]
    assert log
    assert not [line for line in log if link[2] in line]


def test_people_are_added_and_listed(environ: Path, tmp_path: Path) -> None:
    upgrade(f"sqlite:///{environ}/sanhui.db")
    password = tmp_path / "password"
    password.write_text("Good-Enough-1\n", encoding="utf-8")
    _run("user", "add", "Wang", "--name", "王敏", "--role", "auditor", "--password-file", str(password))
    listed = _run("user", "list")
    assert "wang" in listed
    assert "王敏" in listed
    _run("user", "password", "wang", "--password-file", str(password))
    assert "没有用户" in _refused("user", "password", "nobody", "--password-file", str(password))
    password.write_text("weak", encoding="utf-8")
    assert "至少 10 个字" in _refused("user", "password", "wang", "--password-file", str(password))
    assert "已经有用户了" in _refused("setup-link")


def _refused(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2, (result.output, result.exception)
    return result.stderr


def test_an_empty_archive_is_whole(environ: Path) -> None:
    upgrade(f"sqlite:///{environ}/sanhui.db")
    assert "全部与登记一致" in _run("check").replace("\n", "")
    assert "全部与登记一致" in _run("check", "--since", "2026-11-01").replace("\n", "")
    assert "--since" in _run("check", "--since", "yesterday", code=2)


def test_a_database_of_another_version_is_told_in_a_sentence(environ: Path) -> None:
    environ.mkdir()
    (environ / "sanhui.db").touch()
    assert "sanhui migrate" in _refused("check")


@pytest.mark.parametrize("command", [("check",), ("user", "list"), ("setup-link",)])
def test_a_command_in_the_wrong_place_makes_no_empty_database(environ: Path, command: tuple[str, ...]) -> None:
    told = _refused(*command).replace("\n", "")
    assert "SANHUI_DATA_DIR" in told
    assert "sanhui migrate" not in told
    assert not environ.exists()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("SANHUI_DATA_DIR", "{file}/data", "{file}"),
        ("SANHUI_SPOOL_DIR", "{file}", "{file}"),
        ("SANHUI_HTTP_HOST", "192.0.2.1", "SANHUI_HTTP_HOST"),
        ("SANHUI_HTTP_HOST", "nowhere.invalid", "SANHUI_HTTP_HOST"),
        ("SANHUI_RTSP_HOST", "192.0.2.1", "SANHUI_RTSP_HOST"),
        ("SANHUI_SECRET_KEY_FILE", "{file}", "{file}"),
    ],
)
def test_what_keeps_the_service_from_starting_is_told_in_a_sentence(
    environ: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    file = tmp_path / "file"
    file.write_text("no folder, no key")
    file.chmod(0o600)
    for port in ("HTTP", "RTSP", "WEBRTC"):
        monkeypatch.setenv(f"SANHUI_{port}_PORT", "0")
    monkeypatch.setenv(name, value.format(file=file))
    process = subprocess.run(
        [sys.executable, "-m", "web.cli", "serve"], capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode == 2, process
    assert told.format(file=file) in process.stderr.replace("\n", "")
    assert "Traceback" not in process.stderr + process.stdout


def test_settings_are_shown_without_secrets(environ: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANHUI_METRICS_TOKEN", "s3cret-token")
    shown = _run("settings")
    assert "http_port = 8080" in shown
    assert "s3cret" not in shown


def test_a_probe_of_a_forbidden_address_says_what_to_do(environ: Path) -> None:
    output = _run("probe", "rtsp://u:p%40ss@169.254.169.254/x", code=1)
    assert "不允许连接这个地址" in output
    assert "p%40ss" not in output
    assert "p@ss" not in output


def test_the_demonstration_takes_the_next_free_port_and_what_the_environment_says(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) > port
    chosen = demo_settings({"SANHUI_HTTP_PORT": "18888", "SANHUI_NODE": "demo"}, tmp_path, 8080)
    assert (chosen.http_port, chosen.node, chosen.demo) == (18888, "demo", True)
    assert chosen.camera_allow_loopback
