"""
The API described in OpenAPI 3.1: at `/schema/openapi.json` for programs, at `/schema` for people.

Paths come from Litestar, the schemas of bodies and answers from msgspec: it is what reads the bodies, so what it says
of them is what holds. The page is our own and loads nothing from anywhere.
"""

import base64
import hashlib
import re
from html import escape
from typing import Any

import msgspec
from litestar import Request, Router
from litestar.datastructures import ResponseHeader
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from msgspec import Struct

from clawback import __version__
from clawback.api.answers import Answer
from clawback.api.requests import MEDIA_TYPE, Body

INTRODUCTION = (
    "What the tools of a session do, for programs and people without one. Every operation under /api/v1"
    " wants the header `Authorization: Bearer cbt_…`. Errors are application/problem+json (RFC 9457). Lists that can be"
    " long come in pages: `nextCursor` of one is `cursor` of the next."
)

_REFERENCE = "#/components/schemas/{name}"

_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; }
h2 { border-bottom: 1px solid; margin-top: 2.5rem; }
code, pre { font-family: ui-monospace, monospace; font-size: 0.9rem; }
code { overflow-wrap: anywhere; }
pre { overflow-x: auto; padding: 0.75rem; border: 1px solid; border-radius: 0.25rem; }
table { border-collapse: collapse; table-layout: fixed; width: 100%; }
th:first-child { width: 4rem; }
td, th { border: 1px solid; padding: 0.25rem 0.5rem; text-align: left; vertical-align: top; }
"""

_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def build_openapi_config() -> OpenAPIConfig:
    """Say how the API is described, and where."""
    return OpenAPIConfig(
        title="Clawback",
        version=__version__,
        description=INTRODUCTION,
        use_handler_docstrings=True,
        components=Components(
            security_schemes={
                "token": SecurityScheme(
                    type="http", scheme="bearer", description="A token: `clawback token create` makes one"
                )
            }
        ),
        render_plugins=[_Page(path="/"), _Document()],
        openapi_router=Router(
            "/schema",
            route_handlers=[],
            include_in_schema=False,
            response_headers=[
                ResponseHeader(name="Content-Security-Policy", value=CONTENT_SECURITY_POLICY),
                ResponseHeader(name="X-Content-Type-Options", value="nosniff"),
                ResponseHeader(name="Referrer-Policy", value="no-referrer"),
            ],
        ),
    )


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Put msgspec's schemas into Litestar's document, and write the parameters of paths as the wire has its names."""
    _, schemas = msgspec.json.schema_components(_shapes(), ref_template=_REFERENCE)
    schemas = document["components"]["schemas"] | schemas
    paths = {
        _camel(path): {method: _complete_operation(operation, schemas) for method, operation in item.items()}
        for path, item in document["paths"].items()
    }
    return document | {"paths": paths, "components": document["components"] | {"schemas": schemas}}


def _shapes() -> list[type[Struct]]:
    # By name: one that `showing` has completed takes the place of the one that it was made from, its base.
    return list({shape.__name__: shape for base in (Answer, Body) for shape in _subclasses(base)}.values())


def _subclasses(base: type[Struct]) -> list[type[Struct]]:
    return [found for each in base.__subclasses__() for found in (each, *_subclasses(each))]


def _complete_operation(operation: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    completed = dict(operation)
    if "parameters" in operation:
        completed["parameters"] = [each | {"name": _camel(each["name"])} for each in operation["parameters"]]
    if "requestBody" in operation:
        name = operation["requestBody"]["content"][MEDIA_TYPE]["schema"]["$ref"].rpartition("/")[2]
        # No body is an object without fields.
        completed["requestBody"] = operation["requestBody"] | {"required": bool(schemas[name].get("required"))}
    return completed


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)


class _Document(JsonRenderPlugin):
    """`/schema/openapi.json`."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Write the document."""
        return self.render_json(request, complete(openapi_schema))


class _Page(OpenAPIRenderPlugin):
    """`/schema`: the same, to read."""

    def render(self, _request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Write the page."""
        return build_page(complete(openapi_schema)).encode()


def build_page(document: dict[str, Any]) -> str:
    """Write an OpenAPI document as a page without scripts."""
    operations = [
        _build_operation(method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    title = escape(f"{document['info']['title']} {document['info']['version']}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}: API</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><h1>{title}: API</h1><p>{_build_text(document['info'].get('description', ''))}</p>"
        f'<p>For programs: <a href="/schema/openapi.json">openapi.json</a></p>{"".join(operations)}</body></html>'
    )


def _build_operation(method: str, path: str, operation: dict[str, Any]) -> str:
    name = escape(operation["operationId"])
    rows = "".join(
        f"<tr><td>{escape(status)}</td><td>{_build_text(answer['description'])}{_build_examples(answer)}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    parameters = "".join(
        f"<li><code>{escape(parameter['name'])}</code> ({escape(parameter['in'])}):"
        f" {_build_text(parameter.get('description', ''))}</li>"
        for parameter in operation.get("parameters", [])
    )
    return (
        f'<section id="{name}"><h2><code>{escape(method.upper())} {escape(path)}</code></h2>'
        f"<p>{escape(operation.get('summary', ''))}. {_build_text(operation.get('description', ''))}</p>"
        f"<ul>{parameters}</ul><table><tr><th>Status</th><th>Answer</th></tr>{rows}</table></section>"
    )


def _build_text(text: str) -> str:
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _build_examples(answer: dict[str, Any]) -> str:
    examples = [
        example["value"]
        for content in (answer.get("content") or {}).values()
        for example in content.get("examples", {}).values()
    ]
    written = [
        example if isinstance(example, str) else msgspec.json.format(msgspec.json.encode(example), indent=2).decode()
        for example in examples
    ]
    return "".join(f"<pre>{escape(example)}</pre>" for example in written)
