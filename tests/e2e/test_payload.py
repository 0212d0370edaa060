"""A source that shows a part of its payloads, the whole way: to Claude, who reads the rest by its path."""

import json

import senders
from channel.claude import Claude
from github import PULL_REQUEST, delivery
from processes import CLAWBACK, environment
from waiting import eventually

PAYLOAD = json.loads(PULL_REQUEST)


async def test_claude_is_shown_a_part_and_reads_the_rest(server, token, http, tmp_path):
    """A sixth of the characters at most, fences and words included; what is missing comes by path, fenced as well."""
    config = server.log_in(token, tmp_path)
    async with Claude(config, command=[str(CLAWBACK), "channel"], **environment(tmp_path)) as claude:
        fields = {"type": "github", "secret": senders.SECRET.decode(), "skill": "/review", "payload": "compact"}
        source = json.loads((await claude.call("source_create", slug="github", **fields))[0])
        await http.post(source["url"], **delivery())
        shown = await claude.event(1)
        owner, _ = await claude.call("event_payload", path="pull_request.head.repo.owner.node_id")
        whole, _ = await claude.call("event_payload", limit=100)
        wrong, failed = await claude.call("event_payload", path="pull_request.tilte")
        await claude.call("event_ack", summary="done")

        async def refusal():
            text, refused = await claude.call("event_payload", event_id=shown["meta"]["event_id"])
            return refused and text

        # An ack is Claude's at once; that the event has ended is the server's to say.
        gone = await eventually(refusal)

    assert source["payload"] == "compact"
    assert shown["content"].startswith("/review\n\n")
    assert PAYLOAD["pull_request"]["title"] in shown["content"]
    assert "the tool event_payload reads the rest" in shown["content"].partition("-----BEGIN DATA")[0]
    assert len(shown["content"]) * 6 <= len(PULL_REQUEST)
    assert shown["meta"]["payload"] == "compact"
    assert PAYLOAD["pull_request"]["head"]["repo"]["owner"]["node_id"] in owner.partition("-----BEGIN DATA")[2]
    assert PULL_REQUEST.decode()[:100] in whole
    assert f"characters 0 to 100 of {len(PULL_REQUEST.decode())}" in whole
    assert whole.endswith("There is more: offset=100.")
    assert failed
    assert "no 'tilte' at pull_request: an object with url, id" in wrong
    assert "it has ended" in gone
