"""What the API answers, as its description has it: the shapes of successes, and every problem with its status."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar, cast

import msgspec
from litestar import Response
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Example
from msgspec import UNSET, Struct, UnsetType

from clawback.fields import fields_of
from clawback.http.problems import CONTENT_TYPE

PATH = "/api/v1"
"""Where the API is. What is added to it later breaks nobody; what breaks somebody gets another number."""


class Answer(Struct, frozen=True, rename="camel", kw_only=True):
    """The base of every shape that is answered. Operations make the values; these describe them, and tests compare."""


Shape = TypeVar("Shape", bound=Answer)


def showing(declared: type[Struct]) -> Callable[[type[Shape]], type[Shape]]:
    """Give a shape the declared fields too; each is left out where there is nothing to show."""

    def complete(shape: type[Shape]) -> type[Shape]:
        shown = [
            (each.name, each.plain | UnsetType, msgspec.field(default=UNSET, name=each.wire_name))
            for each in fields_of(declared)
        ]
        completed = msgspec.defstruct(
            shape.__name__,
            shown,
            bases=(shape,),
            frozen=True,
            kw_only=True,
            module=shape.__module__,
            namespace={"__doc__": shape.__doc__},
        )
        return cast("type[Shape]", completed)

    return complete


class Problem(Answer, frozen=True):
    """An error (RFC 9457): `detail` says what was read, what is accepted and what to do next."""

    title: str
    status: int
    detail: str


def created(answer: dict[str, Any], path: str) -> Response[dict[str, Any]]:
    """Answer that something is made, and where under the API it is."""
    return Response(answer, status_code=HTTPStatus.CREATED, headers={"Location": f"{PATH}{path}"})


PROBLEMS = {
    400: ("The request is refused for what it is", "limit refused, read 0: accepted is 1 to 100 (default 20)"),
    401: ("No valid token", "no valid token: send the header 'Authorization: Bearer cbt_…'"),
    404: ("No such thing, or it is another profile's: the two look the same", "there is no source src_unknown"),
    408: ("The body did not come in time", "the body did not come within 30 s: send it again"),
    409: ("Somebody was first, or it is not in the state for this", "there is a source with the slug 'hub' already"),
    413: ("The body is over 1 MiB", "the body is too large: accepted are at most 1048576 bytes"),
    415: ("The body is not said to be JSON", "Content-Type 'text/plain' refused: accepted is application/json"),
    429: ("More than one caller may; see `Retry-After`", "too many wrong tokens came from this address"),
    503: ("NATS or a session does not answer; not known to be done", "NATS did not answer within 5 s"),
}
"""Every status that an operation can end with but success: what it means, and an example of its `detail`."""

_ALWAYS = (400, 401, 429, 503)
_WITH_BODY = (408, 413, 415)


def documented(
    status: int,
    shape: type[Any] | None,
    example: object = None,
    *problems: int,
    body: bool = False,
    media_type: str = "application/json",
) -> dict[int, ResponseSpec]:
    """
    Describe what an operation answers: a success with an example of it, and the problems it can end in.

    Those of every operation, and of every one with a body, need not be named.
    """
    examples = None if example is None else [Example(value=example)]
    success = ResponseSpec(
        shape,
        generate_examples=False,
        description=HTTPStatus(status).phrase,
        media_type=media_type,
        examples=examples,
    )
    expected = sorted({*_ALWAYS, *problems, *(_WITH_BODY if body else ())})
    return {status: success} | {problem: _describe(problem) for problem in expected}


def _describe(status: int) -> ResponseSpec:
    description, detail = PROBLEMS[status]
    example = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return ResponseSpec(
        Problem,
        generate_examples=False,
        description=description,
        media_type=CONTENT_TYPE,
        examples=[Example(value=example)],
    )
