"""The server as a whole: the pages around webhooks and sessions, what it counts, and what it tells a person."""

import json
import logging
import socket
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus

import senders
from clawback import __version__, wire
from clawback.build import commit
from clawback.model import Cron, new_id
from clawback.server import app
from clawback.server.welcome import find_container, next_steps
from clawback.settings import ServerSettings
from clawback.store.lines import Lines
from clawback.store.registry import Registry
from counting import counted
from houses import House, Peer
from waiting import eventually

PROGRAM = Path("/opt/claw back/bin/clawback")


@pytest.fixture
async def house(natsd, tmp_path):
    """A profile with one server."""
    async with House.open(natsd, tmp_path) as house:
        yield house


@pytest.fixture
async def web(house):
    """An HTTP client of the server."""
    async with httpx.AsyncClient(base_url=house.servers[0].url) as web:
        yield web


async def test_healthz_says_that_the_process_lives(web):
    """It asks nobody."""
    answer = await web.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "version": __version__, "commit": commit()})


async def test_readyz_follows_nats(fresh_natsd, tmp_path):
    """Green, red with the reason while NATS is away, green again; healthz does not care."""
    async with (
        House.open(fresh_natsd, tmp_path) as house,
        httpx.AsyncClient(base_url=house.servers[0].url) as web,
    ):
        before = await web.get("/readyz")
        fresh_natsd.kill9()
        await eventually(house.servers[0].presence._fabric.problem)
        away, alive = await web.get("/readyz"), await web.get("/healthz")
        fresh_natsd.start()

        async def ready():
            return (await web.get("/readyz")).status_code == 200

        await eventually(ready, timeout=10)

    assert (before.status_code, before.json()) == (200, {"status": "ready"})
    assert away.status_code == 503
    assert "the connection to NATS at nats://127.0.0.1:" in away.json()["reason"]
    assert alive.status_code == 200


async def test_readyz_is_red_when_nats_answers_nothing(fresh_natsd, tmp_path):
    """A frozen NATS has its connections open, and is away all the same."""
    async with (
        House.open(fresh_natsd, tmp_path) as house,
        httpx.AsyncClient(base_url=house.servers[0].url) as web,
    ):
        fresh_natsd.freeze()
        try:
            answer = await web.get("/readyz")
        finally:
            fresh_natsd.thaw()

    assert answer.status_code == 503
    assert "did not answer" in answer.json()["reason"]


async def test_an_installation_with_a_cron_of_the_end_of_time_starts(fresh_natsd, tmp_path):
    """An older server stored it; webhooks, sessions and other crons do not know, and whoever looks is told."""
    now = datetime.now(UTC)
    async with House.open(fresh_natsd, tmp_path) as house:
        registry = await Registry.open(house.fabric)
        for schedule, once in ((None, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)), ("* * * * *", None)):
            await registry.create_cron(
                Cron(
                    id=new_id("crn"),
                    profile_id=house.profile.id,
                    created_at=now,
                    since=now,
                    prompt="Tidy up.",
                    timezone="Asia/Tokyo",
                    schedule=schedule,
                    once=once,
                    jitter_seconds=3600 if once else 0,
                )
            )
        server = await house.start()
        async with httpx.AsyncClient(base_url=server.url) as web:
            answer = await web.get("/readyz")
            metrics = (await web.get("/metrics")).text
        session = await house.connect(server)
        listed = (await session.ask("cron_list"))["data"]
        refused = await session.ask("cron_create", once="9999-12-31T23:59:59Z", jitterSeconds=3600, prompt="Tidy up.")

    assert answer.status_code == 200
    assert answer.json()["aside"].startswith("set aside, while all else goes on: 1 of kind cron;")
    assert 'clawback_set_aside{kind="cron"} 1.0' in metrics
    assert sorted(each.get("disabled", False) for each in listed) == [False, True]
    assert "accepted is a time within 10 years" in refused["error"]


async def test_the_description_of_the_api_is_there(web):
    """OpenAPI 3.1, and a page that shows it."""
    schema = (await web.get("/schema/openapi.json")).json()

    assert schema["openapi"].startswith("3.1")
    assert (schema["info"]["title"], schema["info"]["version"]) == ("Clawback", __version__)
    assert set(schema["paths"]) >= {"/healthz", "/readyz", "/metrics"}
    assert (await web.get("/schema")).status_code == 200


async def test_the_sessions_door_without_an_upgrade_names_the_proxy(web):
    """Who reads it has a proxy that takes the header off."""
    answer = await web.get("/ws")

    assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "proxy" in answer.json()["detail"]


@pytest.mark.parametrize(("host", "reached"), [("::", ("127.0.0.1", "::1")), ("::1", ("::1",))])
async def test_all_addresses_of_ipv6_are_those_of_ipv4_too(host, reached):
    """`--host ::` serves everybody."""
    with app._listen(host, 0) as listener:
        port = listener.getsockname()[1]
        for address in reached:
            socket.create_connection((address, port), 5).close()


async def test_errors_of_pages_are_problems(web):
    """RFC 9457: the status's own phrase, and what to do."""
    missing, method = await web.get("/nope"), await web.post("/healthz")

    assert missing.headers["content-type"] == method.headers["content-type"] == "application/problem+json"
    assert missing.json() == {
        "title": "Not Found",
        "status": 404,
        "detail": "nothing is at this URL: /schema shows what there is, and sessions connect to /ws",
    }
    assert (method.status_code, method.json()["title"]) == (405, "Method Not Allowed")
    assert method.headers["allow"]


async def test_a_bug_behind_a_page_says_nothing_of_itself(house, web, monkeypatch, caplog):
    """The log has it."""
    fabric = house.servers[0].presence._fabric

    async def broken():
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(fabric, "check", broken)
    answer = await web.get("/readyz")

    assert answer.status_code == 500
    assert answer.json()["detail"] == "The server cannot handle this now; its log says why. Tell its operator."
    assert "secret detail" not in answer.text
    assert "ZeroDivisionError" in caplog.text


async def test_a_websocket_elsewhere_is_refused(house):
    """Only /ws is a bridge."""
    with pytest.raises(InvalidStatus) as refused:
        await Peer.open(house.servers[0].socket_url + "x")

    assert refused.value.response.status_code in (403, 404)


async def test_webhooks_deliveries_and_ends_are_counted(house, web):
    """From the request to the ack, each under its profile."""
    peer = await house.connect(instanceId="i")
    common = {"verifierType": "github", "secret": "planted-secret"}
    hub = (await peer.ask("source_create", slug="hub", routes={"push": "/go"}, **common))["data"]
    go = (await peer.ask("source_create", slug="go", skill="/go", **common))["data"]
    profile = house.profile.id
    path = httpx.URL(hub["url"]).path
    body = json.dumps({"action": "opened"}).encode()
    headers = {"X-GitHub-Event": "issues", "X-GitHub-Delivery": "d1", **dict(senders.github(body))}
    unknown = counted("clawback_webhooks_total", profile="", source="", outcome="refused")
    statuses = [
        (await web.post(path, content=body, headers=headers)).status_code,
        (await web.post(path.replace("/hub", "/go"), content=body, headers=headers)).status_code,
        (await web.post(path.replace("/hub", "/go"), content=body, headers=headers)).status_code,
        (await web.post(path, content=body)).status_code,
        (await web.post(path + "x", content=body)).status_code,
    ]
    event = await peer.frame("event")
    peer.abort()
    await eventually(lambda: not house.servers[0].bridge._connections)
    again = await house.connect(instanceId="j")
    await again.frame("event")
    await again.ack(event["id"])

    assert statuses == [200, 202, 200, 401, 404]
    assert counted("clawback_webhooks_total", profile=profile, source=hub["id"], outcome="dropped") == 1
    assert counted("clawback_webhooks_total", profile=profile, source=hub["id"], outcome="refused") == 1
    assert counted("clawback_webhooks_total", profile="", source="", outcome="refused") == unknown + 1
    assert counted("clawback_deliveries_total", profile=profile, again="false") == 1
    assert counted("clawback_deliveries_total", profile=profile, again="true") == 1
    assert counted("clawback_events_ended_total", profile=profile, state="acked") == 1
    assert counted("clawback_webhooks_total", profile=profile, source=go["id"], outcome="queued") == 1
    assert counted("clawback_webhooks_total", profile=profile, source=go["id"], outcome="duplicate") == 1


async def test_a_task_that_should_run_for_ever_says_that_it_ended(natsd, tmp_path, monkeypatch, caplog):
    """A bug in it must not go unnoticed until the server stops."""

    async def broken(_):
        raise ZeroDivisionError

    monkeypatch.setattr(Lines, "keep_sweeping", broken)
    async with House.open(natsd, tmp_path):
        await eventually(lambda: "the task 'sweep lines' ended: restart the server" in caplog.text)

    assert [record.levelno for record in caplog.records if "sweep lines" in record.message] == [logging.CRITICAL]


def test_the_limits_of_the_protocols_below_are_set():
    """Uvicorn's own pings would close a client that is silent for 40 s, and the protocol allows 90."""
    config = app.build_config(None)

    assert config.ws_max_size == wire.MAX_FRAME_BYTES
    assert config.ws_ping_interval is None
    assert not config.ws_per_message_deflate
    assert not config.proxy_headers


def test_next_steps_are_ready_to_paste_with_defaults():
    """
    Two steps, with the program's own path.

    The server is named even where it is the default: a config that names another one would keep that.
    """
    text = next_steps(ServerSettings(), PROGRAM, first_start=True)

    assert (
        text
        == f"""\
Clawback is ready at http://127.0.0.1:8787

Next, in another terminal:

  1. save the plugin's config (makes a token that is shown nowhere):
     '{PROGRAM}' token create | '{PROGRAM}' login --token-stdin --server http://127.0.0.1:8787

  2. put the plugin into Claude Code, and start a session with it:
     '{PROGRAM}' install
     claude --dangerously-load-development-channels plugin:clawback@clawback

Ctrl-C stops the server and its NATS; what comes in stays stored."""
    )


def test_next_steps_name_what_is_not_the_default():
    """Data directory and server are given on, quoted."""
    settings = ServerSettings(data_dir=Path("/srv/my data"), port=9000)
    text = next_steps(settings, PROGRAM, first_start=False)

    assert "If this machine is not set up yet, in another terminal:" in text
    assert "token create --data-dir '/srv/my data' | " in text
    assert "login --token-stdin --server http://127.0.0.1:9000\n" in text


@pytest.mark.parametrize(
    ("environment", "files", "command"),
    [
        ({}, {"/.dockerenv"}, "docker exec 0123456789ab"),
        ({}, {"/run/.containerenv"}, "podman exec 0123456789ab"),
        ({"container": "podman"}, set(), "podman exec 0123456789ab"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, {"/.dockerenv"}, "kubectl exec 0123456789ab --"),
        ({}, set(), None),
    ],
)
def test_a_container_is_known_by_what_runs_it(environment, files, command):
    """Each names its containers by their host name, unless told otherwise."""
    for ids in ((1, 0), (7, 1)):
        assert find_container(environment, files.__contains__, "0123456789ab", ids) == command
    assert find_container(environment, files.__contains__, "0123456789ab", (300, 299)) is None, "somebody works there"


def test_next_steps_in_a_container_work_from_outside():
    """The token is made within, and saved and used without; the program's path there means nothing here."""
    settings = ServerSettings(data_dir=Path("/data"), host="0.0.0.0")
    text = next_steps(settings, Path("/opt/clawback/bin/clawback"), first_start=True, container="docker exec abc")

    assert (
        "docker exec abc /opt/clawback/bin/clawback token create --data-dir /data"
        " | clawback login --token-stdin --server http://127.0.0.1:8787\n"
    ) in text
    assert "     clawback install\n" in text
    assert "open http://127.0.0.1:8787/auth/cli" in text
    assert "set CLAWBACK_PUBLIC_URL" in text


def test_next_steps_lead_to_the_same_nats_and_show_no_login():
    """A token made in the server's own NATS would open nothing; a password is for no screen."""
    settings = ServerSettings(nats_url="nats://user:p,a/s@s@one:4222")
    text = next_steps(settings, PROGRAM, first_start=True)

    assert "token create --nats-url nats://one:4222 | " in text
    assert "p,a/s" not in text
    assert "Ctrl-C stops the server; what comes in stays stored." in text
