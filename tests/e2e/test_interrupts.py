"""A storm of interrupts, the whole way from the webhooks to Claude Code and back."""

from channel.claude import Claude, read_list
from clawback.model import MAX_NESTED
from github import make_source, post
from legacy import LegacyClient
from processes import CLAWBACK, environment
from waiting import eventually

STORM = 50


async def test_fifty_interrupts_in_one_event(server, token, http, tmp_path):
    """
    Eight nest, newest first; the others follow one by one, in order, before anything suspended; then each is resumed.

    What was interrupted comes back from the newest to the normal event that all began in, and only then what waits.
    """
    config = server.log_in(token, tmp_path)
    async with LegacyClient(server.socket_url, token.value, "elsewhere") as client:
        urls = {
            priority: await make_source(client, priority, priority=priority, sessionTag="")
            for priority in ("normal", "priority", "interrupt")
        }
    async with Claude(config, command=[str(CLAWBACK), "channel"], **environment(tmp_path)) as claude:
        begun = await post(http, urls["normal"])
        await claude.event(1)
        waiting = [await post(http, urls["normal"]), await post(http, urls["priority"])]
        storm = [await post(http, urls["interrupt"]) for _ in range(STORM)]
        expected = shown_of(begun, storm, waiting)
        nested = 1 + MAX_NESTED
        acked = [storm[MAX_NESTED - 1], *storm[MAX_NESTED:], *reversed(storm[: MAX_NESTED - 1]), begun, *waiting[::-1]]
        for shown, event_id in enumerate(acked, start=nested):
            last = await claude.event(shown)
            assert last["meta"]["event_id"] == event_id
            text, failed = await claude.call("event_ack", event_id=event_id, summary="done")
            assert not failed, text

        async def recorded():
            history = read_list((await claude.call("event_history", limit=100))[0])
            return history if len(history) == len(acked) else None

        # An ack is Claude's at once; that the last event has ended is the server's to say.
        history = await eventually(recorded)
        seen = [(each["meta"]["event_id"], each["meta"].get("resumed")) for each in claude.events]

    assert seen == expected
    assert [each["eventId"] for each in history] == acked[::-1]
    assert {(each["state"], each["attempts"]) for each in history} == {("acked", 1)}


def shown_of(begun: str, storm: list[str], waiting: list[str]) -> list[tuple[str, str | None]]:
    """Say what Claude is shown, in order, and whether it is told that it was interrupted in it."""
    nest, rest = storm[:MAX_NESTED], storm[MAX_NESTED:]
    resumed = [(event_id, "true") for event_id in [*reversed(nest[:-1]), begun]]
    return [
        (begun, None),
        *((each, None) for each in nest),
        *((each, None) for each in rest),
        *resumed,
        *((each, None) for each in waiting[::-1]),
    ]
