"""The OpenAPI 3.1 description, made from the operations that handlers declare.

``python -m web.openapi`` prints it without running the service; ``GET /api/openapi.json`` serves the same.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from web.api.schemas.common import Problem
from web.operations import Operation
from web.version import version

_REFERENCE = "#/components/schemas/{model}"
_SECURITY = {
    "session": {"type": "apiKey", "in": "cookie", "name": "sanhui_session"},
    "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token"},
}
Json = dict[str, Any]


def describe(operations: Iterable[Operation]) -> Json:
    """The description of ``operations`` as an OpenAPI 3.1 object."""
    operations = list(operations)
    schemas, references = _schemas(operations)
    paths: dict[str, Json] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sanhui API",
            "version": version(),
            "description": "Meeting video and live supervision. Every error is problem details (RFC 9457).",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/api/v1"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations)],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SECURITY},
    }


References = Mapping[tuple[type[Any], JsonSchemaMode], Json]


def _schemas(operations: Iterable[Operation]) -> tuple[Json, References]:
    models: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(Problem, "serialization"): None}
    for operation in operations:
        if operation.body is not None:
            models[operation.body, "validation"] = None
        if operation.query is not None:
            models[operation.query, "validation"] = None
        if operation.response is not None:
            models[operation.response, "serialization"] = None
    references, definitions = models_json_schema(list(models), ref_template=_REFERENCE)
    schemas = dict(definitions["$defs"])
    for query in {operation.query for operation in operations if operation.query is not None}:
        schemas.pop(query.__name__, None)
    return schemas, references


def _operation(operation: Operation, references: References) -> Json:
    described: Json = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": _responses(operation, references),
    }
    notes = [operation.description] if operation.description else []
    if operation.scope is None:
        described["security"] = []
    else:
        needs: Json = {"session": []}
        if operation.unsafe:
            needs["csrf"] = []
        described["security"] = [needs]
        notes.append(f"Scope: `{operation.scope}`.")
    if notes:
        described["description"] = "\n\n".join(notes)
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in operation.path_parameters
    ]
    if operation.query is not None:
        parameters.extend(_query_parameters(operation.query))
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        schema = references[operation.body, "validation"]
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return described


def _query_parameters(model: type[BaseModel]) -> list[Json]:
    schema = model.model_json_schema(ref_template=_REFERENCE)
    required = set(schema.get("required", ()))
    parameters = []
    for name, field in schema.get("properties", {}).items():
        parameter: Json = {"name": name, "in": "query", "required": name in required, "schema": field}
        if description := field.pop("description", None):
            parameter["description"] = description
        parameters.append(parameter)
    return parameters


def _responses(operation: Operation, references: References) -> Json:
    success: Json = {"description": HTTPStatus(operation.status).phrase}
    if operation.response is not None:
        schema = references[operation.response, "serialization"]
        success["content"] = {operation.media_type: {"schema": schema}}
    elif operation.media_type != "application/json":
        # OpenAPI 3.1: a body of raw bytes is a media type without a schema.
        success["content"] = {operation.media_type: {}}
    responses: Json = {str(operation.status): success}
    problem = {"application/problem+json": {"schema": references[Problem, "serialization"]}}
    for status in sorted(_error_statuses(operation)):
        responses[str(status)] = {"description": HTTPStatus(status).phrase, "content": problem}
    return responses


def _error_statuses(operation: Operation) -> set[int]:
    statuses = {*operation.errors, 500}
    if operation.scope is not None:
        statuses |= {401, 403}
    if operation.path_parameters:
        statuses.add(404)
    if operation.body is not None:
        statuses |= {413, 415, 422}
    if operation.query is not None:
        statuses.add(422)
    return statuses


def main() -> None:
    """Print the description of the whole API."""
    from web.api import all_operations

    json.dump(describe(all_operations()), sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
