"""Bodies as senders send them, at a real server: packed, as forms, with files and with secrets in them."""

import gzip
import json
import zlib
from urllib.parse import urlencode

import pytest

from signers import digest

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PUSH = {"ref": "refs/heads/main", "commits": [], "repository": {"full_name": "acme/shop"}}
HEADERS = {"X-GitHub-Event": "push"}


async def waiting(sender) -> list[bytes]:
    """Return the bodies that are stored for the source's session."""
    listed = await sender.peer.ask("event_list", states=["queued", "offered", "claimed"])
    bodies = []
    for each in listed["data"]:
        found = await sender.peer.ask("event_payload", eventId=each["eventId"])
        bodies.append(found["data"]["text"].encode())
    return bodies


def raw_deflate(body: bytes) -> bytes:
    """Pack without a header, as some senders do."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("GZIP", gzip.compress), ("deflate", zlib.compress), ("deflate", raw_deflate)],
)
@pytest.mark.parametrize("signs", ["packed", "whole"])
async def test_a_packed_body_is_unpacked(caller, encoding, pack, signs):
    """Whether its sender signs what it sends or what is in it; stored and shown is what is in it."""
    github = await caller("github")
    body = json.dumps(PUSH | {"before": "a", "after": "b"}).encode()
    sent = pack(body)
    signature = {"X-Hub-Signature-256": "sha256=" + digest(github.secret, sent if signs == "packed" else body).hex()}

    answer = await github.send(sent, HEADERS | signature | {"Content-Encoding": encoding}, signed=False)
    forged = await github.send(sent, HEADERS | {"Content-Encoding": encoding, "X-Hub-Signature-256": "sha256=00"})

    assert (answer.status_code, answer.json()["eventType"]) == (202, "push")
    assert await waiting(github) == [body]
    assert forged.status_code == 401


async def test_a_bomb_is_refused(caller):
    """What is small and holds more than a body may have; what is cut short; what is something else."""
    sender = await caller("token")
    bomb = gzip.compress(b"0" * (26 * 1024 * 1024))
    packed = {"Content-Encoding": "gzip"}

    answers = [
        await sender.send(body, packed)
        for body in (bomb, gzip.compress(b"{}")[:-4], b"{}", gzip.compress(b"{}") + b"more")
    ]

    assert len(bomb) < 100_000
    assert [each.status_code for each in answers] == [413, 400, 400, 400]
    assert await sender.stored() == 0


async def test_a_form_is_stored_as_the_json_that_it_carries(caller):
    """So Claude reads JSON, and paths and parts work on it; the signature is over the form."""
    github = await caller("github", payload=["repository.full_name"])
    body = urlencode({"payload": json.dumps(PUSH | {"before": "a", "after": "b"})}).encode()

    answer = await github.send(body, FORM | HEADERS)
    frame = await github.peer.frame("event")

    assert answer.status_code == 202
    shown, _ = json.JSONDecoder().raw_decode(frame["content"][frame["content"].index("{") :])
    assert shown == {"repository": {"full_name": "acme/shop"}}
    assert json.loads((await waiting(github))[0])["commits"] == []


async def test_a_form_of_fields_is_an_object(caller):
    """As Slack's commands are; JSON under a form's name is JSON."""
    slack = await caller("slack-commands")

    form = await slack.send(b"command=%2Fdeploy&text=shop+now&trigger_id=1.2", FORM)
    plain = await slack.send(b' {"command":"/roll","trigger_id":"1.3"}', FORM)

    assert [form.status_code, plain.status_code] == [200, 200]
    stored = [json.loads(body) for body in await waiting(slack)]
    assert {"command": "/deploy", "text": "shop now", "trigger_id": "1.2"} in stored
    assert {"command": "/roll", "trigger_id": "1.3"} in stored


@pytest.mark.parametrize("kind", ["gogs", "gitea", "forgejo"])
@pytest.mark.parametrize("signs", ["payload", "form"])
async def test_who_signs_the_payload_of_a_form(caller, kind, signs):
    """Gogs and older Gitea; newer ones sign the form."""
    forge = await caller(kind)
    payload = json.dumps(PUSH).encode()
    body = urlencode({"payload": payload}).encode()
    title = kind.title()
    signature = digest(forge.secret, payload if signs == "payload" else body).hex()
    fields = {f"X-{title}-Signature": signature, f"X-{title}-Event": "push"} | FORM

    answer = await forge.send(body, fields, signed=False)
    forged = await forge.send(body.replace(b"main", b"mine"), fields, signed=False)

    assert (answer.status_code, forged.status_code) == (202, 401)
    assert json.loads((await waiting(forge))[0]) == PUSH


async def test_a_multipart_form_has_its_fields_and_the_names_of_its_files(caller):
    """Plex's payload; Jotform's fields with JSON in one of them; and what is no such form."""
    sender = await caller("query", eventType={"body": "event"})
    url = f"{sender.url}?token=planted-secret"

    plex = await sender.web.post(
        url,
        data={"payload": '{"event":"media.play","user":true}'},
        files={"thumb": ("t.jpg", b"\xff\xd8", "image/jpeg")},
    )
    jotform = await sender.web.post(
        url, data={"formID": "7", "rawRequest": '{"q1":"yes"}'}, files={"cv": ("cv.pdf", b"12345", "application/pdf")}
    )
    wrong = await sender.web.post(url, content=b"--x\r\n", headers={"Content-Type": "multipart/form-data; boundary=x"})

    assert plex.json()["eventType"] == "media.play"
    assert (jotform.status_code, wrong.status_code) == (202, 400)
    stored = [json.loads(body) for body in await waiting(sender)]
    assert {"event": "media.play", "user": True} in stored
    cv = {"filename": "cv.pdf", "contentType": "application/pdf", "bytes": 5}
    assert {"formID": "7", "rawRequest": {"q1": "yes"}, "cv": cv} in stored


async def test_a_secret_in_the_body_is_not_stored(caller):
    """Figma's passcode proves who sent it, and nobody who reads the event is to have it."""
    figma = await caller("figma")
    body = json.dumps({"event_type": "FILE_UPDATE", "passcode": figma.secret.decode(), "file_key": "k"}).encode()

    answer = await figma.send(body, signed=False)

    assert answer.status_code == 202
    [stored] = await waiting(figma)
    assert figma.secret not in stored
    assert json.loads(stored) == {"event_type": "FILE_UPDATE", "passcode": "[removed]", "file_key": "k"}
