"""How handlers ask the operations: in the name of the token's profile."""

from collections.abc import Callable
from typing import Any, NamedTuple

from litestar import Request
from litestar.params import SkipValidation
from msgspec import structs

from clawback import wire
from clawback.api.answers import PATH
from clawback.api.requests import Body
from clawback.errors import NotFound
from clawback.operations import Caller, Services, perform

NO_ID = ""
"""What stands in the wire's `requestId`, by which answers find their question on a WebSocket; HTTP needs none."""


class Asking(NamedTuple):
    """The services, and who asks them."""

    services: Services
    caller: Caller

    async def __call__(self, kind: type[wire.Request | wire.Ack], **fields: Any) -> Any:  # noqa: ANN401 -- shaped by the request
        """
        Carry out a request of this kind and return the answer's `data`.

        Raises:
            ClawbackError: what its operation raises.
        """
        return await perform(self.services, self.caller, kind(request_id=NO_ID, **fields))

    def of_session(self, tag: str | None) -> "Asking":
        """Ask for a session of the caller's, which is not to say over its connection."""
        return Asking(self.services, structs.replace(self.caller, session_tag=tag))

    async def body(self, kind: type[wire.Request | wire.Ack], body: Body, **fields: Any) -> Any:  # noqa: ANN401 -- the same
        """
        Carry out a request of this kind, with the fields of a body.

        Raises:
            ClawbackError: what its operation raises.
        """
        return await self(kind, **structs.asdict(body), **fields)

    async def all(self, kind: type[wire.Request], **fields: object) -> dict[str, Any]:
        """
        Carry out a request for a list, which is answered as an object: there is room beside the list then.

        Raises:
            ClawbackError: what its operation raises.
        """
        return {"items": await self(kind, **fields)}

    async def one(self, kind: type[wire.Request], thing: str, identifier: str) -> dict[str, Any]:
        """
        Find one of what a request lists.

        Raises:
            NotFound: it is not among the caller's.
            ClawbackError: what the operation raises.
        """
        found: list[dict[str, Any]] = [each for each in await self(kind) if each["id"] == identifier]
        if not found:
            raise unknown(thing, identifier)
        return found[0]

    async def remove(self, kind: type[wire.Request], thing: str, **fields: str) -> None:
        """
        Carry out a request that removes what its one field names.

        Raises:
            NotFound: it is not among the caller's.
            ClawbackError: what its operation raises.
        """
        answer = await self(kind, **fields)
        if not answer["removed"]:
            raise unknown(thing, *fields.values())


def unknown(thing: str, identifier: str) -> NotFound:
    """Make the error for what is not there for this caller, wherever else it may be."""
    return NotFound(
        f"there is no {thing} {identifier[:80]!a} in this profile; GET {PATH}/{thing}s shows those there are"
    )


Ask = SkipValidation[Asking]
"""What a handler declares to be given one."""


def asking_of(services: Services) -> Callable[[Request[Caller, str, Any]], Asking]:
    """Make what Litestar calls for each request that has been authenticated."""

    def ask(request: Request[Caller, str, Any]) -> Asking:
        return Asking(services, request.user)

    return ask
