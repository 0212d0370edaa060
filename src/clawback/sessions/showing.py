"""The event frame, built where it keeps nobody waiting: a large payload is read in a thread."""

from clawback.model import Event, Held
from clawback.sessions.frames import build_event_frame
from clawback.system.heavy import HEAVY_BYTES, run_heavy
from clawback.wire import EventFrame


async def show_event(event: Event, body: bytes, held: Held, *, names_events: bool) -> EventFrame:
    """Do what `build_event_frame` does."""
    if len(body) <= HEAVY_BYTES:
        return build_event_frame(event, body, held, names_events=names_events)
    return await run_heavy(build_event_frame, event, body, held, names_events=names_events)
