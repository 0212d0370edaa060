"""Everything that is not a webhook or a session: the API and its description, health, and what others add."""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from litestar import Litestar, Request, Response, get
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import ResponseSpec
from litestar.status_codes import HTTP_503_SERVICE_UNAVAILABLE
from litestar.types import ControllerRouterHandler

from clawback import __version__
from clawback.api.description import build_openapi_config
from clawback.api.requests import MAX_BODY_BYTES, find_words
from clawback.build import commit
from clawback.fabric.streams import Fabric
from clawback.http.problems import CONTENT_TYPE, build_problem
from clawback.store.damage import Damage
from clawback.store.room import Room
from clawback.telemetry.aside import Aside
from clawback.webhooks.spool import Spool

log = logging.getLogger("clawback")


def build_site(
    fabric: Fabric,
    *more: ControllerRouterHandler,
    show_missing: Callable[[], Response[str]],
    spool: Spool | None = None,
    room: Room | None = None,
    damage: Damage | None = None,
    aside: Aside | None = None,
) -> Litestar:
    """
    Build the Litestar application over the server's fabric, with the routers of other rooms.

    `show_missing` is the page for a browser that asks for what is not there.
    """

    @get("/healthz", summary="Whether the process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "version": __version__, "commit": commit()}

    @get(
        "/readyz",
        summary="Whether events can be taken and delivered now",
        responses={503: ResponseSpec(dict[str, str], generate_examples=False, description="Not now: see `reason`")},
    )
    async def readyz() -> Response[dict[str, str]]:
        reason = await fabric.check() or (await room.problem() if room is not None else None)
        known = {
            "spool": spool and spool.describe(),
            "damage": damage and damage.describe(),
            "aside": aside and aside.describe(),
            "recovery": fabric.unrecovered,
        }
        also = {name: sentence for name, sentence in known.items() if sentence}
        if reason is None:
            return Response({"status": "ready", **also})
        return Response({"status": "unavailable", "reason": reason, **also}, status_code=HTTP_503_SERVICE_UNAVAILABLE)

    def refuse(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
        if error.status_code == HTTPStatus.NOT_FOUND and request.url.path == "/ws":
            return _want_websocket()
        if error.status_code == HTTPStatus.NOT_FOUND and "text/html" in request.headers.get("accept", ""):
            return show_missing()
        return _refuse(request, error)

    return Litestar(
        [healthz, readyz, *more],
        openapi_config=build_openapi_config(),
        exception_handlers={HTTPException: refuse, Exception: _fail},
        request_max_body_size=MAX_BODY_BYTES,
        # The process's own logging stays as it is.
        logging_config=None,
    )


def _refuse(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, object]]:
    """Answer what the framework refuses: no such path, not this method."""
    status = HTTPStatus(error.status_code)
    detail = error.detail
    if status is HTTPStatus.NOT_FOUND:
        detail = "nothing is at this URL: /schema shows what there is, and sessions connect to /ws"
    elif status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        detail = f"the body is too large: accepted are at most {MAX_BODY_BYTES} bytes"
    elif isinstance(error, ValidationException):
        wrong: list[Any] = error.extra or []  # type: ignore[assignment] # Litestar's own, for any use of `extra`
        detail = (
            "; ".join(f"{each['key']} refused: {each['message']}{_accepted(request, each)}" for each in wrong) or detail
        )
    problem: dict[str, object] = {"title": status.phrase, "status": status.value, "detail": detail}
    return Response(problem, status_code=status.value, headers=error.headers, media_type=CONTENT_TYPE)


def _accepted(request: Request[Any, Any, Any], wrong: Any) -> str:  # noqa: ANN401 -- Litestar's own
    """Say which words a parameter of the query takes, where it was given another."""
    if not str(wrong["message"]).startswith("Invalid enum value"):
        return ""
    for name, parameter in request.route_handler.parsed_fn_signature.parameters.items():
        known_as = {name, getattr(parameter.kwarg_definition, "name", None)}
        if wrong["key"] in known_as and (words := find_words(parameter.annotation)):
            return f"; accepted is one of {', '.join(words)}"
    return ""


def _want_websocket() -> Response[dict[str, object]]:
    """Answer plain HTTP at the sessions' door; most often a proxy sent it."""
    status = HTTPStatus.UPGRADE_REQUIRED
    detail = (
        "sessions connect here by WebSocket, and this request has no Upgrade: websocket with Connection: Upgrade. A"
        " proxy in between takes them off unless it is told to pass them on (nginx: proxy_http_version 1.1 and"
        " proxy_set_header Upgrade and Connection)"
    )
    problem: dict[str, object] = {"title": status.phrase, "status": status.value, "detail": detail}
    headers = {"upgrade": "websocket", "connection": "Upgrade"}
    return Response(problem, status_code=status.value, headers=headers, media_type=CONTENT_TYPE)


def _fail(_: object, error: Exception) -> Response[bytes]:
    """Answer our own errors, and bugs, which say nothing of themselves."""
    problem = build_problem(error)
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("a page failed", exc_info=error)
    return Response(problem.body, status_code=problem.status, headers=dict(problem.headers))
