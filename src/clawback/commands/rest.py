"""
The API, as commands ask it: server and token from the plugin's config, answers as plain values, errors of our own.

`CLAWBACK_TOKEN` and `CLAWBACK_SERVER` stand before the config file, each for itself, for machines that have no plugin.
A token is never an argument: everybody on a machine can read those.
"""

import os
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import httpx

from clawback.channel.settings import PluginConfig, check_config, config_path, is_loopback, read_config, saved_fields
from clawback.commands.facts import build_base_url
from clawback.commands.login import DEFAULT_SERVER, build_remote
from clawback.commands.terminal import printable
from clawback.errors import ClawbackError, Conflict, NotFound, ProtocolViolation, Rejected, Unauthorized, Unavailable
from clawback.system.trust import system_trust

SERVER_VARIABLE = "CLAWBACK_SERVER"
TOKEN_VARIABLE = "CLAWBACK_TOKEN"  # noqa: S105 -- the variable's name

PATH = "/api/v1"
LINK_PATH = "/auth/open/link"

ANSWER_SECONDS = 60.0
"""For one answer. A delivery is no part of it; a list of very many events may take a while."""

PAGE_ITEMS = 100

_SERVER_FAULT = 500

_REFUSALS: dict[int, type[ClawbackError]] = {HTTPStatus.NOT_FOUND: NotFound, HTTPStatus.CONFLICT: Conflict}


def find_config() -> PluginConfig:
    """
    Find which server to ask, and with which token: from the variables where they are set, else from the config.

    Raises:
        ConfigError: there is no usable config, or a variable is wrong.
    """
    token, server = os.environ.get(TOKEN_VARIABLE, "").strip(), os.environ.get(SERVER_VARIABLE, "").strip()
    if not token and not server:
        return read_config()
    config = PluginConfig(
        remote=build_remote(server) if server else str(saved_fields(config_path()).get("remote", ""))
        or build_remote(DEFAULT_SERVER),
        connection_token=token or read_config().connection_token,
    )  # fmt: skip
    check_config(config)
    return config


class Rest:
    """
    One server's API. Each method takes a path below `/api/v1`, and what the operation does.

    Raises, whichever is called:
        Unauthorized, NotFound, Conflict, Rejected: what the server answered, in its words.
        Unavailable: there is no answer, or it says to come later; what was asked may be done or not.
        ProtocolViolation: what answers there is no Clawback server.
    """

    def __init__(self, config: PluginConfig) -> None:
        self.base_url = build_base_url(config.remote)
        url = httpx.URL(self.base_url)
        self._client = httpx.Client(
            verify=system_trust(),
            timeout=ANSWER_SECONDS,
            # A proxy for the outside world cannot reach this machine's loopback.
            trust_env=not is_loopback(url.host),
            headers={"Authorization": f"Bearer {config.connection_token}"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, /, **query: object) -> Any:  # noqa: ANN401 -- shaped by the operation
        """Read; a query of None is left out."""
        return self._ask("GET", path, {name: value for name, value in query.items() if value is not None}).json()

    def raw(self, path: str) -> bytes:
        """Read what is no JSON."""
        return self._ask("GET", path, {}).content

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 -- as above
        """Make or do something."""
        return self._ask("POST", path, {}, body).json()

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- as above
        """Change what is given of something."""
        return self._ask("PATCH", path, {}, body).json()

    def put(self, path: str, body: Mapping[str, Any], /, **query: object) -> Any:  # noqa: ANN401 -- as above
        """Put something in the place of what is there."""
        return self._ask("PUT", path, {name: value for name, value in query.items() if value is not None}, body).json()

    def delete(self, path: str, /, **query: object) -> Any:  # noqa: ANN401 -- as above
        """Remove something; None where there is nothing to say of it."""
        answer = self._ask("DELETE", path, {name: value for name, value in query.items() if value is not None})
        return answer.json() if answer.content else None

    def page_link(self) -> dict[str, Any]:
        """Make a link that logs its holder in to the page, once."""
        link: dict[str, Any] = self._ask("POST", LINK_PATH, {}, base="").json()
        return link

    def ready(self) -> tuple[bool, str]:
        """Say whether the server can take and deliver events now, and if not, why."""
        try:
            answer = self._client.get(f"{self.base_url}/readyz")
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        try:
            content = answer.json()
        except ValueError:
            content = None
        reason = content.get("reason", "") if isinstance(content, dict) else ""
        return answer.is_success, printable(str(reason)) or f"HTTP {answer.status_code}"

    def pages(self, path: str, most: int | None = None, /, **query: object) -> Iterator[dict[str, Any]]:
        """Go through a list that has cursors, page by page, to its end or to so many."""
        cursor = None
        while most is None or most > 0:
            size = PAGE_ITEMS if most is None else min(most, PAGE_ITEMS)
            page = self.get(path, limit=size, cursor=cursor, **query)
            yield from page["items"]
            most = None if most is None else most - len(page["items"])
            cursor = page["nextCursor"]
            if cursor is None:
                return

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: Mapping[str, Any] | None = None,
        base: str = PATH,
    ) -> httpx.Response:
        try:
            answer = self._client.request(method, self.base_url + base + path, params=query, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error
        if answer.is_success:
            return answer
        raise self._refusal(answer)

    def _unreachable(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"{self.base_url} cannot be reached ({printable(str(error)) or type(error).__name__}): is the server"
            " running? `clawback doctor` looks further"
        )

    def _refusal(self, answer: httpx.Response) -> ClawbackError:
        try:
            content = answer.json()
        except ValueError:
            content = None
        if not isinstance(content, dict) or "title" not in content:
            return ProtocolViolation(
                f"{self.base_url} answers HTTP {answer.status_code}, and not as a Clawback server does: is a proxy in"
                " between, or the server older than this program?"
            )
        said = printable(str(content.get("detail") or content["title"]))
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            return Unauthorized(
                f"{self.base_url} does not take the token. Make one with `clawback token create`, and save it with"
                " `clawback login`"
            )
        later = answer.status_code == HTTPStatus.TOO_MANY_REQUESTS or answer.status_code >= _SERVER_FAULT
        return Unavailable(said) if later else _REFUSALS.get(answer.status_code, Rejected)(said)
