"""
Login of a command line: `/auth/cli` for the person, `/auth/cli/exchange` for the program.

The page shows whose account it is. Nothing is made until the person sends its form; what comes then is a code that is
good once, in a command to paste, or on its way to the program that waits for it on a loopback port of the person's own
machine (RFC 8252, section 7.3). The program's page is opened with

    /auth/cli?port=<where it waits>&state=<its secret, which comes back>&challenge=<PKCE, S256>

so that it knows its own answer, and nobody else can use it. All that such a link can name is a port of the machine
whose browser opened it.

A cookie alone makes nothing here: whoever holds a copy of it would have a token for ever. The form wants what is in no
cookie: the proof that a login of the last minutes handed on to this page, or a token of the profile, entered now.
"""

import re
from typing import Any
from urllib.parse import urlencode, urlsplit

from litestar import Request, Response, Router, get, post
from litestar.params import JSONBody, URLEncodedBody
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from clawback.accounts.codes import Codes
from clawback.accounts.gate import Gate
from clawback.api.answers import documented
from clawback.api.requests import ApiRequest, Body
from clawback.channel.settings import PluginConfig, is_loopback
from clawback.errors import Rejected
from clawback.web import headers, pages
from clawback.web.command import build_powershell_command, build_shell_command
from clawback.web.door import Door
from clawback.web.github_login import GithubLogin
from clawback.web.pages import Html, Known, Visitor
from clawback.web.place import CLI_PATH, PROOF, Place

PATH = CLI_PATH
EXCHANGE_PATH = "/auth/cli/exchange"

MAX_EXCHANGE_BYTES = 4096

EXAMPLE = {"remote": "wss://clawback.example.com/ws", "connectionToken": "cbt_…"}

PORTS = range(1024, 65536)
"""Where a program of a person's may listen."""


class Program(Struct, frozen=True):
    """A program that waits on a loopback port: where, what it knows its answer by, and its PKCE challenge."""

    port: int
    state: str
    challenge: str


class CliForm(Struct, frozen=True):
    """What the form sends: what the person calls the token, and which program waits, if one does."""

    label: str = ""
    port: str = ""
    state: str = ""
    challenge: str = ""
    proof: str = ""
    token: str = ""

    def __repr__(self) -> str:
        return "CliForm(…)"


class Exchange(Body, frozen=True):
    """A code to be redeemed, and the PKCE verifier where a program asked for it."""

    code: str
    verifier: str | None = None

    def __repr__(self) -> str:
        return "Exchange(…)"


def parse_program(port: str, state: str, challenge: str) -> Program | None:
    """
    Read which program waits; None where none does.

    Raises:
        Rejected: what a link or a form says of it is no program of ours.
    """
    if not (port or state or challenge):
        return None
    if (
        not re.fullmatch(r"[0-9]{4,5}", port)
        or int(port) not in PORTS
        or not re.fullmatch(r"[A-Za-z0-9_-]{20,128}", state)
        or not re.fullmatch(r"[A-Za-z0-9_-]{43}", challenge)
    ):
        raise Rejected("this link is no whole link of clawback login: run it again, and open the link that it prints")
    return Program(int(port), state, challenge)


def build_cli_pages(door: Door, github: GithubLogin, codes: Codes, place: Place) -> list[ControllerRouterHandler]:
    """Build the pages that hand a code to a command line."""
    local = is_loopback(urlsplit(place.public_url).hostname or "")

    @get(PATH)
    async def ask(request: Request[Any, Any, Any], visitor: Visitor) -> Html:
        door.check_private()
        asked = request.query_params
        program = parse_program(asked.get("port", ""), asked.get("state", ""), asked.get("challenge", ""))
        if visitor is None:
            return pages.show("cli_login.html", None, onward=pages.path_of(request), github=github.description)
        proof = asked.get(PROOF, "")
        return pages.show(
            "cli_ask.html",
            visitor,
            program=program,
            label=asked.get("label", "")[:100],
            proof=proof if door.is_proof(visitor, proof) else None,
            onward=pages.path_of(request),
            github=github.description,
        )

    @post(PATH, status_code=200)
    async def hand_over(request: Request[Any, Any, Any], person: Known, data: URLEncodedBody[CliForm]) -> Html:
        program = parse_program(data.port, data.state, data.challenge)
        shown = door.is_proof(person, data.proof)
        if not shown and data.token:
            shown = await door.prove(person, data.token, pages.address_of(request))
        if not shown:
            raise Rejected(
                "to give access to something new, show that it is you: log in again, which counts for 10 minutes, or go"
                " back and enter a token of this profile"
            )
        code = await codes.make(person.profile.id, data.label or None, None if program is None else program.challenge)
        if program is not None:
            back = f"http://127.0.0.1:{program.port}/?{urlencode({'code': code, 'state': program.state})}"
            return pages.show("cli_return.html", person, back=back)
        return pages.show(
            "cli_command.html",
            person,
            shell=build_shell_command(place.public_url, code, local=local),
            powershell=build_powershell_command(place.public_url, code),
        )

    return [ask, hand_over]


def build_exchange_router(codes: Codes, gate: Gate, place: Place) -> Router:
    """Build the endpoint where a program redeems its code. It takes no cookies, so no page can use it for a person."""
    remote = "ws" + place.public_url.removeprefix("http") + "/ws"

    @post(
        EXCHANGE_PATH,
        status_code=200,
        operation_id="code_exchange",
        summary="Redeem a code of the page /auth/cli for the config file of the plugin, once",
        responses=documented(200, PluginConfig, EXAMPLE, 404, body=True),
        security=[],
    )
    async def exchange(request: Request[Any, Any, Any], data: JSONBody[Exchange]) -> Response[PluginConfig]:
        """Give the config file's JSON, with a new token. Whatever comes of it, the code is used."""
        made = await gate.redeem(codes, data.code, data.verifier, pages.address_of(request))
        return Response(PluginConfig(remote, made.value), headers=dict([headers.PRIVATE]))

    return Router("/", route_handlers=[exchange], request_class=ApiRequest, request_max_body_size=MAX_EXCHANGE_BYTES)
