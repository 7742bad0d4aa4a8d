"""The OpenAPI 3.1 document, made of the same table that the routes are made of."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
from msgspec import Struct

from mailsandbox.access.http.endpoints import Endpoint
from mailsandbox.access.http.problems import MEDIA_TYPE
from mailsandbox.access.http.release import version

Document = dict[str, Any]  # Any: JSON of a schema that is not ours

_TEMPLATE: Final = "#/components/schemas/{name}"

# RFC 9457 §3.1.
PROBLEM: Final[Document] = {
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}


def document(endpoints: Sequence[Endpoint]) -> Document:
    """The whole document."""
    queries = [endpoint.query for endpoint in endpoints if endpoint.query is not None]
    bodies = [kind for endpoint in endpoints for kind in (*endpoint.takes, endpoint.gives)]
    structs = [kind for kind in bodies if isinstance(kind, type)]
    _, components = msgspec.json.schema_components([*structs, *queries], ref_template=_TEMPLATE)
    paths: Document = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, components)
    paths["/v1/accounts/{address}/changes/ws"] = {"get": _websocket()}
    names = {query.__name__ for query in queries}
    schemas = {name: schema for name, schema in components.items() if name not in names}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mailsandbox",
            "version": version(),
            "description": "Two simulated mail servers, and every way to read what arrives.",
        },
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": {**schemas, "Problem": PROBLEM}},
    }


def _operation(endpoint: Endpoint, components: Document) -> Document:
    parameters: list[Document] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", endpoint.path)
    ]
    if endpoint.query is not None:
        schema = components[endpoint.query.__name__]
        for name, form in schema.get("properties", {}).items():
            parameters.append(
                {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": form}
            )
    operation: Document = {
        "operationId": _operation_id(endpoint),
        "summary": endpoint.summary,
        "responses": {str(endpoint.status): _answer(endpoint)},
    }
    if parameters:
        operation["parameters"] = parameters
    if endpoint.takes:
        operation["requestBody"] = {"content": dict(map(_content, endpoint.takes))}
    for status in endpoint.also:
        operation["responses"][str(status)] = (
            _problem(status) if status >= 400 else {"description": HTTPStatus(status).phrase}
        )
    operation["responses"]["default"] = _problem(0)
    return operation


def _answer(endpoint: Endpoint) -> Document:
    answer: Document = {"description": HTTPStatus(endpoint.status).phrase}
    if endpoint.gives is not None:
        answer["content"] = dict([_content(endpoint.gives)])
    return answer


def _content(kind: type[Struct] | str) -> tuple[str, Document]:
    if isinstance(kind, str):
        return kind, {}
    return "application/json", {"schema": {"$ref": _TEMPLATE.format(name=kind.__name__)}}


def _problem(status: int) -> Document:
    description = HTTPStatus(status).phrase if status else "A problem document (RFC 9457)"
    return {"description": description, "content": {MEDIA_TYPE: {"schema": {"$ref": _TEMPLATE.format(name="Problem")}}}}


def _operation_id(endpoint: Endpoint) -> str:
    words = re.sub(r"\W+", "_", endpoint.path.removeprefix("/v1")).strip("_")
    return f"{endpoint.method.lower()}_{words}"


def _websocket() -> Document:
    return {
        "operationId": "get_accounts_address_changes_ws",
        "summary": "Changes over a WebSocket, subprotocol mailsandbox.v1+json; `since` resumes",
        "parameters": [
            {"name": "address", "in": "path", "required": True, "schema": {"type": "string"}},
            {"name": "since", "in": "query", "required": False, "schema": {"type": "integer", "minimum": 0}},
        ],
        "responses": {"101": {"description": "Switching Protocols"}, "default": _problem(0)},
    }
