"""Requests as the API reads them: a JSON object with the fields of its operation and no others, within limits."""

import asyncio
import re
from collections.abc import Sequence
from enum import Enum
from http import HTTPStatus
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from litestar import Request
from litestar.enums import HttpMethod, ScopeType
from litestar.exceptions import HTTPException
from litestar.params import QueryParameter
from litestar.routes import HTTPRoute
from litestar.status_codes import HTTP_408_REQUEST_TIMEOUT, HTTP_415_UNSUPPORTED_MEDIA_TYPE
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Struct

from clawback.errors import BadPayload
from clawback.operations.caller import MAX_PAGE

MAX_BODY_BYTES = 1024 * 1024
"""As of a frame on the WebSocket: the same may be asked on both ways."""

BODY_SECONDS = 30.0
"""How long a body may take to come."""

MEDIA_TYPE = "application/json"

PageLimit = Annotated[
    int | None, QueryParameter(ge=1, le=MAX_PAGE, description="How many to show at most; all where it is left out")
]
After = Annotated[str | None, QueryParameter(description="The id of the last one of the page before")]


_WRONG_WORD = re.compile(r"^Invalid enum value .* - at `\$\.([A-Za-z.]+)`$", re.DOTALL)


class Body(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """The base of every body: a field that nobody knows is a mistake, and is told so."""


def answering_options(app: ASGIApp) -> ASGIApp:
    """Answer OPTIONS with every method of a path; Litestar's own answer (2.25) has those of its first handler alone."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] != HttpMethod.OPTIONS:
            await app(scope, receive, send)
            return
        routes = [each for each in scope["litestar_app"].routes if each.path_format == scope["path_template"]]
        methods = sorted({method for each in routes if isinstance(each, HTTPRoute) for method in each.methods})
        headers = [(b"allow", ", ".join(methods).encode())]
        await send({"type": "http.response.start", "status": HTTPStatus.NO_CONTENT, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return answer


class TimelyRequest(Request[Any, Any, Any]):
    """A request whose body has to come in time, whatever it is."""

    async def body(self) -> bytes:
        """
        Read the body.

        Raises:
            HTTPException: it took too long, or is too large.
        """
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await super().body()
        except TimeoutError:
            raise HTTPException(
                f"the body did not come within {BODY_SECONDS:.0f} s: send it again",
                status_code=HTTP_408_REQUEST_TIMEOUT,
                headers={"Connection": "close"},
            ) from None


class ApiRequest(TimelyRequest):
    """A request whose JSON is read strictly, into the type that its handler declares for `data`."""

    async def body(self) -> bytes:
        """Read the body; none is an object without fields: all of them may be optional, and else the first is named."""
        return await super().body() or b"{}"

    async def json(self) -> Any:  # noqa: ANN401 -- what the handler declares
        """
        Read the body as what the handler declares.

        Raises:
            HTTPException: it is not said to be JSON.
            BadPayload: it is not JSON, or a field is missing, unknown or wrong.
        """
        body = await self.body()
        media_type, _ = self.content_type
        if media_type not in ("", MEDIA_TYPE):
            raise HTTPException(
                f"Content-Type {ascii(media_type)[:80]} refused: accepted is {MEDIA_TYPE}",
                status_code=HTTP_415_UNSUPPORTED_MEDIA_TYPE,
            )
        declared = self.route_handler.parsed_data_field
        assert declared is not None, "Litestar asks for the body of handlers that take one"
        try:
            return msgspec.json.decode(body, type=declared.annotation)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadPayload(f"body refused: {error}{_accepted(str(error), declared.annotation)}") from None


def _accepted(problem: str, annotation: object) -> str:
    """Say which words a field takes, where msgspec says that it was given another."""
    place = _WRONG_WORD.search(problem)
    words = () if place is None else find_words(annotation, place[1].split("."))
    return f"; accepted is one of {', '.join(words)}" if words else ""


def find_words(annotation: object, path: Sequence[str] = ()) -> tuple[str, ...]:
    """List the words of an enum or `Literal`, which stands at a path of field names below a type."""
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return () if path else tuple(str(word.value) for word in annotation)
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        fields = [field for field in msgspec.structs.fields(annotation) if path and field.encode_name == path[0]]
        return find_words(fields[0].type, path[1:]) if fields else ()
    if get_origin(annotation) is Literal:
        return () if path else tuple(map(str, get_args(annotation)))
    return next((words for part in get_args(annotation) if (words := find_words(part, path))), ())
