"""
REST under `/api/v1`: everything that sessions ask over their WebSocket, for programs and people without one.

One controller for each noun. Each handler builds the request that would have come over the wire, has `operations` carry
it out, and says with which status it is answered: nothing is decided here.
"""

from litestar import Router
from litestar.di import Provide

from clawback.accounts.gate import Gate
from clawback.api.account import AccountController
from clawback.api.answers import PATH
from clawback.api.asking import asking_of
from clawback.api.auth import BearerAuthentication, taking_turns
from clawback.api.config import ConfigController
from clawback.api.crons import CronController
from clawback.api.events import EventController
from clawback.api.history import HistoryController
from clawback.api.messages import MessageController
from clawback.api.requests import MAX_BODY_BYTES, ApiRequest, answering_options
from clawback.api.sessions import SessionController
from clawback.api.sources import SourceController, SourceTypeController
from clawback.api.stream import build_stream
from clawback.api.tokens import TokenController
from clawback.http.turns import Turns
from clawback.operations import Services
from clawback.store.feed import Feed

__all__ = ["PATH", "build_api"]

CONTROLLERS = [
    AccountController,
    TokenController,
    SourceController,
    SourceTypeController,
    CronController,
    ConfigController,
    SessionController,
    MessageController,
    EventController,
    HistoryController,
]


def build_api(services: Services, gate: Gate, feed: Feed, turns: Turns[str]) -> Router:
    """Build the app under `/api/v1`, behind the gate, with the turns that the callers' other ways in take as well."""
    return Router(
        PATH,
        route_handlers=[*CONTROLLERS, build_stream(services, feed)],
        dependencies={"ask": Provide(asking_of(services), sync_to_thread=False)},
        # A function, because Litestar copies what it is given, and a gate is one.
        middleware=[answering_options, lambda app: BearerAuthentication(app, gate), taking_turns(turns)],
        request_class=ApiRequest,
        request_max_body_size=MAX_BODY_BYTES,
        # Some answers hold a token or a secret, and all of them are somebody's.
        response_headers={"Cache-Control": "no-store"},
        security=[{"token": []}],
    )
