"""docker-compose.yml describes production. Where no Docker engine is at hand the same services are run by hand: its
settings for Sanhui, secrets from files and all, on a real PostgreSQL and a real MinIO."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from storage.records import new_id
from tests.support.service import Person, running_service
from tools.s3_servers import MinioServer
from web.config import Settings

COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file, read."""
    described = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    assert isinstance(described, dict)
    return described


def defaults(value: str) -> str:
    """``${NAME:-default}`` as Compose reads it where the variable is not set."""
    return re.sub(r"\$\{[A-Z0-9_]+:-([^}]*)\}", r"\1", value)


def test_what_it_names_is_there(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"sanhui", "database", "store"}
    assert services["sanhui"]["depends_on"].keys() == {"database", "store"}
    known = {f"SANHUI_{name.upper()}" for name in Settings.model_fields}
    for name in services["sanhui"]["environment"]:
        assert name.removesuffix("_FILE") in known, name
    for service in services.values():
        assert set(service.get("secrets", [])) <= set(compose["secrets"])
        for volume in service["volumes"]:
            assert volume.partition(":")[0] in compose["volumes"]
        image = service["image"]
        assert re.search(r":[\w.-]*\d", image), f"{image} is not pinned"
        assert "healthcheck" in service or "build" in service


def test_secrets_are_no_part_of_the_image(compose: dict[str, Any]) -> None:
    """Only Sanhui's user may read them, so that the build would not even begin for anybody else."""
    kept_out = (COMPOSE.parent / ".dockerignore").read_text(encoding="utf-8").split()
    assert {Path(defaults(secret["file"])).parts[0] for secret in compose["secrets"].values()} <= set(kept_out)
    assert ".env" in kept_out


def test_no_log_grows_for_ever(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert {"max-size", "max-file"} <= service["logging"]["options"].keys(), name


def test_every_setting_can_be_given_without_a_change_to_the_file(compose: dict[str, Any]) -> None:
    """A changed file would be in the way of the next upgrade."""
    assert compose["services"]["sanhui"]["env_file"] == [{"path": "sanhui.env", "required": False}]


@pytest.mark.servers
async def test_its_settings_start_a_service_that_can_be_set_up(
    compose: dict[str, Any], tmp_path: Path, postgres_url: str, minio: MinioServer
) -> None:
    database = urlsplit(postgres_url)
    secrets = {"database": unquote(database.password or ""), "store": minio.secret_key}
    for name, secret in secrets.items():
        (tmp_path / name).write_text(f"{secret}\n", encoding="utf-8")
    # Names of machines and folders inside Docker's network become those of this machine; nothing else is changed.
    here = {
        "SANHUI_HTTP_HOST": "127.0.0.1",
        "SANHUI_RTSP_HOST": "127.0.0.1",
        "SANHUI_DATA_DIR": str(tmp_path / "data"),
        "SANHUI_DATABASE_URL": f"postgresql://{database.username}@127.0.0.1:{database.port}{database.path}",
        "SANHUI_DATABASE_PASSWORD_FILE": str(tmp_path / "database"),
        "SANHUI_S3_ENDPOINT": minio.endpoint,
        "SANHUI_S3_ACCESS_KEY": minio.access_key,
        "SANHUI_S3_SECRET_KEY_FILE": str(tmp_path / "store"),
        "SANHUI_S3_BUCKET": f"compose-{new_id()}",
    }
    described = {name: defaults(str(value)) for name, value in compose["services"]["sanhui"]["environment"].items()}
    async with running_service(tmp_path / "service", described | here) as service, Person(service.url) as person:
        await person.set_up(await service.setup_token())
        assert (await person.call("GET", "/organizations"))["roots"][0]["name"] == "云岭县"
        for secret in secrets.values():
            assert secret not in service.log
