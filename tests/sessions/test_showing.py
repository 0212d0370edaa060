"""The frame of a large event is built where it keeps nobody waiting."""

import threading
from datetime import UTC, datetime

import pytest

from clawback.model import Event, Held, Origin, Priority, Projection, Scheme
from clawback.sessions import frames, showing
from clawback.system.heavy import HEAVY_BYTES

EVENT = Event(
    "evt_a", Origin.WEBHOOK, Priority.NORMAL, datetime.now(UTC), payload=Projection(compact=Scheme.GITHUB), skill="/go"
)


@pytest.mark.parametrize(("size", "apart"), [(10, False), (HEAVY_BYTES + 1, True)])
async def test_a_large_payload_is_read_in_a_thread(monkeypatch, size, apart):
    """Which shows the same as a small one."""
    seen = []

    def build(*args, **kwargs):
        seen.append(threading.current_thread() is not threading.main_thread())
        return frames.build_event_frame(*args, **kwargs)

    monkeypatch.setattr(showing, "build_event_frame", build)
    body = b'{"a":"' + b"a" * size + b'","b":null}'
    held = Held(EVENT.id, 7, EVENT.priority, attempt=1)
    frame = await showing.show_event(EVENT, body, held, names_events=True)

    assert seen == [apart]
    assert frame == frames.build_event_frame(EVENT, body, held, names_events=True)
