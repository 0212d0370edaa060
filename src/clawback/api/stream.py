"""`/events/stream`: what changes for the caller's profile, as it happens."""

from litestar import get
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from clawback.api.answers import documented
from clawback.api.auth import UNAUTHORIZED
from clawback.api.requests import ApiRequest
from clawback.errors import Unauthorized
from clawback.http.event_stream import CONTENT_TYPE, EventStream
from clawback.operations import Services
from clawback.store.feed import Feed

EXAMPLE = 'data: {"type":"event","at":"2027-01-31T08:00:00Z","state":"queued","eventId":"evt_2f8c","priority":"normal"}'


def build_stream(services: Services, feed: Feed) -> HTTPRouteHandler:
    """Build the API's door to the feed."""

    @get(
        "/events/stream",
        operation_id="event_stream",
        tags=("events",),
        summary="Follow what changes",
        responses=documented(200, str, EXAMPLE, media_type=CONTENT_TYPE),
        media_type=MediaType.TEXT,
    )
    async def stream(request: ApiRequest) -> ASGIApp:
        """Follow events, sessions, sources and crons by Server-Sent Events, as long as the connection stays open."""
        caller = request.user

        async def check() -> None:
            if services.tokens.find(caller.profile_id, caller.token_id) is None:
                raise Unauthorized(UNAUTHORIZED)

        return EventStream(feed, caller.profile_id, request.auth, check)

    return stream
