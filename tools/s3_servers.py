"""Real S3 servers for tests and demonstrations: MinIO, and VersityGW as a second opinion."""

import http.client
import os
from pathlib import Path

from tools.go_programs import MINIO, VERSITYGW, Report, built, tell
from tools.server_process import Server, read_credentials


class S3Server(Server):
    """What both have: :attr:`endpoint`, :attr:`access_key`, :attr:`secret_key`."""

    ready_path = "/"

    def __init__(self, data: Path | None = None, report: Report = tell) -> None:
        super().__init__(data)
        self._report = report
        self._program = Path()
        self.access_key = ""
        self.secret_key = ""

    @property
    def endpoint(self) -> str:
        """``http://127.0.0.1:port``."""
        return f"http://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Credentials and folders; the program is built by the subclass."""
        credentials = read_credentials(self.folder)
        self.access_key, self.secret_key = credentials["access"], credentials["secret"]
        for name in ("objects", "versions", "facts"):
            (self.folder / name).mkdir(exist_ok=True)

    def is_ready(self) -> bool:
        """Whether its health page says 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", self.ready_path)
            return connection.getresponse().status == 200
        except http.client.HTTPException:
            return False
        finally:
            connection.close()


class MinioServer(S3Server):
    """MinIO's community server on one folder."""

    name = "minio"
    ready_path = "/minio/health/ready"

    def prepare(self) -> None:
        """Build it if need be."""
        super().prepare()
        self._program = built(MINIO, self._report)

    def command(self) -> list[str]:
        """On loopback, without its console."""
        return [str(self._program), "server", "--address", f"127.0.0.1:{self.port}", str(self.folder / "objects")]

    def environment(self) -> dict[str, str]:
        """Root credentials; no console, no look for updates, nothing of the caller's own MinIO."""
        return {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            "HOME": str(self.folder),
        }


class VersityServer(S3Server):
    """VersityGW on one folder."""

    name = "versitygw"
    ready_path = "/health"

    def prepare(self) -> None:
        """Build it if need be."""
        super().prepare()
        self._program = built(VERSITYGW, self._report)

    def command(self) -> list[str]:
        """Metadata in extended attributes where the file system has them, else in files beside."""
        meta = [] if self._has_attributes() else ["--sidecar", str(self.folder / "facts")]
        versions = ["--versioning-dir", str(self.folder / "versions")]
        return [
            str(self._program), "--port", f"127.0.0.1:{self.port}", "--health", "/health", "--keep-alive",
            "posix", *meta, *versions, str(self.folder / "objects"),
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Root credentials."""
        return {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}

    def _has_attributes(self) -> bool:
        try:
            os.setxattr(self.folder / "objects", "user.sanhui", b"1")
        except (OSError, AttributeError):  # the latter outside Linux
            return False
        return True
