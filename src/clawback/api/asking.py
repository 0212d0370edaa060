"""How handlers ask the operations: in the name of whoever the request's token belongs to."""

from collections.abc import Callable
from typing import Any, NamedTuple

from litestar import Request
from litestar.params import SkipValidation

from clawback import wire
from clawback.operations import Caller, Services, perform

NO_ID = ""
"""What stands in the wire's `requestId`, by which answers find their question on a WebSocket; HTTP needs none."""


class Asking(NamedTuple):
    """The services, and who asks them."""

    services: Services
    caller: Caller

    async def __call__(self, kind: type[wire.Request], **fields: Any) -> Any:  # noqa: ANN401 -- shaped by the request
        """
        Carry out a request of this kind and return the answer's `data`.

        Raises:
            ClawbackError: what its operation raises.
        """
        return await perform(self.services, self.caller, kind(request_id=NO_ID, **fields))


Ask = SkipValidation[Asking]
"""What a handler declares to be given one."""


def asking_of(services: Services) -> Callable[[Request[Caller, str, Any]], Asking]:
    """Make what Litestar calls for each request that has been authenticated."""

    def ask(request: Request[Caller, str, Any]) -> Asking:
        return Asking(services, request.user)

    return ask
