"""The description is valid, whole, and what the service does."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel

from tests.web.conftest import Service
from web.access.scopes import Scope
from web.api import all_operations
from web.openapi import describe
from web.operations import Operations


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    return describe(all_operations())


def test_it_is_valid_openapi_3_1(description: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(description).validate()
    assert description["openapi"].startswith("3.1")


def test_the_desk_is_built_for_the_api_as_it_is(description: dict[str, Any]) -> None:
    committed = json.loads((Path(__file__).parents[2] / "web/ui/openapi.json").read_text(encoding="utf-8"))
    assert committed == description | {"info": description["info"] | {"version": committed["info"]["version"]}}, (
        "make openapi"
    )


def test_the_licence_is_the_same_wherever_it_is_named(description: dict[str, Any]) -> None:
    root = Path(__file__).parents[2]
    ours = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["license"]
    desk = json.loads((root / "web/ui/package.json").read_text(encoding="utf-8"))
    locked = json.loads((root / "web/ui/package-lock.json").read_text(encoding="utf-8"))
    assert (root / "LICENSE").read_text(encoding="utf-8").startswith(f"{ours} ")
    assert description["info"]["license"]["identifier"] == ours
    assert desk["license"] == locked["packages"][""]["license"] == ours


def test_every_operation_is_in_it_with_its_errors(description: dict[str, Any]) -> None:
    names = set()
    for operation in all_operations():
        described = description["paths"][operation.path][operation.method.lower()]
        names.add(described["operationId"])
        assert described["summary"].endswith("."), operation.name
        assert str(operation.status) in described["responses"]
        if operation.scope is not None:
            assert {"401", "403"} <= described["responses"].keys()
            assert operation.scope.value in described["description"]
        if operation.unsafe and operation.scope is not None:
            assert described["security"] == [{"session": [], "csrf": []}]
        problem = described["responses"]["500"]["content"]["application/problem+json"]["schema"]
        assert problem == {"$ref": "#/components/schemas/Problem"}
    assert len(names) == len(all_operations())


def test_each_model_is_described_once(description: dict[str, Any]) -> None:
    names = list(description["components"]["schemas"])
    assert not [name for name in names if name.endswith(("-Input", "-Output"))]
    assert "writeOnly" in json.dumps(description["components"]["schemas"]["CameraInput"])


def test_the_generator_runs_without_the_service(description: dict[str, Any]) -> None:
    done = subprocess.run([sys.executable, "-m", "web.openapi"], capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout) == description


async def test_the_service_serves_the_same(service: Service, description: dict[str, Any]) -> None:
    response = await service.browser().client.get("/api/openapi.json")
    assert await response.json() == description


def test_a_handler_with_a_parameter_from_nowhere_is_refused() -> None:
    operations = Operations("x")
    with pytest.raises(TypeError, match="wrong"):

        @operations.operation("GET", "/x/{good}", scope=Scope.SELF)
        async def handler(call: Any, good: str, wrong: str) -> None:
            """Never run."""


def test_declarations_come_from_the_signature() -> None:
    class Asked(BaseModel):
        number: int

    class Answered(BaseModel):
        text: str

    operations = Operations("x")

    async def handler(call: Any, key: str, query: Any, body: Any) -> Any:
        """Do it.

        And more.
        """

    handler.__annotations__.update(query=Asked, body=Asked)
    handler.__annotations__["return"] = Answered
    operations.operation("POST", "/x/{key}", scope=None, status=201)(handler)
    (operation,) = operations.all
    assert (operation.query, operation.body, operation.response) == (Asked, Asked, Answered)
    assert (operation.summary, operation.description, operation.status) == ("Do it.", "And more.", 201)
    assert operation.path_parameters == ("key",)
