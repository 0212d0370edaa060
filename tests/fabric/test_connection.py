import asyncio
import logging
import time

import pytest

from clawback.errors import ConfigError, Conflict, NotFound, QueueFull, TooLarge, Unavailable
from clawback.fabric import connection, layout
from clawback.fabric.auth import NatsAuth
from clawback.fabric.jetstream import BatchMessage, CoreMessage
from clawback.fabric.streams import Fabric
from clawback.model import random_id
from natsd import Natsd, free_port
from waiting import eventually


@pytest.fixture
def profile_id() -> str:
    """A profile of the test's own: tests share a server and are kept apart by it."""
    return random_id(16)


def event_subject(profile_id: str, shard: int = 0) -> str:
    """Name a line of the profile."""
    return f"evt.{shard}.{profile_id}._.n.m"


async def reconnected(fabric: Fabric, generation: int = 2) -> None:
    """Wait until the fabric works again."""
    await eventually(lambda: fabric.generation >= generation and fabric.problem() is None, 10.0)


# --- opening ------------------------------------------------------------------------------------------------------


async def test_nobody_there_is_one_sentence():
    """A URL where nothing listens fails within the patience, names the URL, and hides the login in it."""
    with pytest.raises(Unavailable, match=r"no NATS at nats://127.0.0.1:\d+: ") as refused:
        await Fabric.open(NatsAuth(f"nats://joe:hunter2@127.0.0.1:{free_port()}"), name="tests", patience_s=0.2)

    assert "hunter2" not in str(refused.value)


async def test_a_server_that_comes_later_is_waited_for(tmp_path):
    """Start order does not matter: open tries until its patience is over."""
    server = Natsd(tmp_path)
    opening = asyncio.create_task(Fabric.open(server.auth, name="tests"))
    await asyncio.to_thread(server.start)
    fabric = await opening
    problem = fabric.problem()
    await fabric.close()
    server.stop()

    assert problem is None


@pytest.mark.parametrize(
    "url", ["", "nats://", "nats://127.0.0.1:notaport", "127.0.0.1:4222", "http://127.0.0.1", "nats://joe:hunter2@"]
)
async def test_a_wrong_url_is_one_sentence(url):
    """What is no URL is refused at once, with an example of one."""
    with pytest.raises(ConfigError, match="one looks like nats://") as refused:
        await Fabric.open(NatsAuth(url), name="tests")

    assert "hunter2" not in str(refused.value)


async def test_a_closed_fabric_says_so(natsd):
    """After close every call fails at once, and so does what was waiting."""
    fabric = await Fabric.open(natsd.auth, name="tests")
    heard = asyncio.Event()
    await fabric.subscribe("close.test", lambda _: heard.set())
    waiting = asyncio.create_task(fabric.request("close.test", b"", timeout=60))
    await heard.wait()
    await fabric.close()

    assert fabric.problem() == "the connection to NATS was closed"
    with pytest.raises(Unavailable, match="was closed"):
        await waiting
    with pytest.raises(Unavailable, match="was closed"):
        await fabric.send("close.test", b"")


# --- publishing ---------------------------------------------------------------------------------------------------


async def test_a_publish_is_stored_as_it_is(fabric, profile_id):
    """Body, headers and message id come back as they went, umlauts in headers included."""
    subject = event_subject(profile_id)
    ack = await fabric.publish(subject, b"\0\xff", message_id="a" + profile_id, headers={"Clawback-Event": '{"ü":1}'})
    stored = await fabric.get("EVT0", sequence=ack.sequence)

    assert (ack.stream, ack.duplicate) == ("EVT0", False)
    assert (stored.subject, stored.sequence, stored.data) == (subject, ack.sequence, b"\0\xff")
    assert stored.headers == {"Clawback-Event": '{"ü":1}', "Nats-Msg-Id": "a" + profile_id}
    assert await fabric.get("EVT0", subject=subject) == stored


async def test_a_second_publish_with_an_id_is_a_duplicate(fabric, profile_id):
    """A repeat stores nothing and says where the first one is."""
    first = await fabric.publish(event_subject(profile_id), b"1", message_id=profile_id)
    second = await fabric.publish(event_subject(profile_id), b"2", message_id=profile_id)

    assert second.duplicate
    assert second.sequence == first.sequence
    assert await fabric.counts("EVT0", event_subject(profile_id)) == {event_subject(profile_id): 1}


async def test_an_expectation_that_does_not_hold_is_a_conflict(fabric, profile_id):
    """The first to create a key has it; a writer who read an older revision is refused."""
    key = f"$KV.cfg.test.{profile_id}"
    ack = await fabric.publish(key, b"1", expected_subject_sequence=0)
    with pytest.raises(Conflict):
        await fabric.publish(key, b"2", expected_subject_sequence=0)
    await fabric.publish(key, b"3", expected_subject_sequence=ack.sequence)

    assert (await fabric.get("KV_cfg", subject=key)).data == b"3"


async def test_a_full_line_is_told_from_a_full_stream(fresh_fabric):
    """NATS has one code for both; only the full line is somebody's queue, the full stream is our trouble."""
    config = (await fresh_fabric.api("STREAM.INFO.EVT0", {}))["config"]
    await fresh_fabric.api("STREAM.UPDATE.EVT0", config | {"max_msgs_per_subject": 1, "max_bytes": 10_000})
    await fresh_fabric.publish(event_subject("p"), b"", message_id="first")
    with pytest.raises(QueueFull):
        await fresh_fabric.publish(event_subject("p"), b"")
    with pytest.raises(Unavailable, match="maximum bytes"):
        await fresh_fabric.publish(event_subject("q"), bytes(11_000))
    again = await fresh_fabric.publish(event_subject("p"), b"", message_id="first")

    assert again.duplicate


async def test_a_subject_without_a_stream_is_unavailable(fabric):
    """Where no stream listens nothing is stored, and that is told at once."""
    with pytest.raises(Unavailable, match="no stream"):
        await fabric.publish("nobody.listens", b"", timeout=30)


@pytest.mark.parametrize("over", [0, 1])
async def test_a_message_that_does_not_fit_is_refused_before_it_is_sent(fabric, profile_id, over):
    """The size counts headers to the byte: nats-server would close the connection, and nats-py itself, for good."""
    headers = {"Clawback-Event": "ü" * 100}
    room = layout.MAX_PAYLOAD_BYTES - len(b"NATS/1.0\r\nClawback-Event: \r\n\r\n") - 200
    generation = fabric.generation
    if over:
        with pytest.raises(TooLarge, match="does not fit NATS"):
            await fabric.publish(event_subject(profile_id), bytes(room + over), headers=headers)
    else:
        await fabric.publish(event_subject(profile_id), bytes(room), headers=headers, timeout=10)

    assert await fabric.check() is None
    assert fabric.generation == generation


async def test_a_header_beyond_nats_bound_is_refused(fabric, profile_id):
    """JetStream takes 64 KiB of headers; more is told as too large, and the connection goes on."""
    with pytest.raises(TooLarge):
        await fabric.publish(event_subject(profile_id), b"", headers={"Clawback-Event": "x" * 70_000})

    assert fabric.generation == 1


async def test_a_subject_that_is_too_long_is_refused(fabric):
    """A longer protocol line than NATS takes would cost the connection."""
    with pytest.raises(TooLarge, match="subject of 5004 characters"):
        await fabric.publish("evt." + "x" * 5000, b"")

    assert await fabric.check() is None


async def test_a_time_to_live_ends_a_message(fabric, profile_id):
    """A lease that nobody renews is gone."""
    key = f"$KV.sess.{profile_id}._"
    await fabric.publish(key, b"1", ttl_s=0.7)
    found = await fabric.get("KV_sess", subject=key)

    assert found.data == b"1"
    await eventually(lambda: is_gone(fabric, key))


async def is_gone(fabric: Fabric, key: str) -> bool:
    """Tell whether a lease is no more."""
    return await fabric.get("KV_sess", subject=key) is None


async def test_many_publishes_at_once_are_all_answered(fabric, profile_id):
    """Each of a thousand concurrent callers gets its own PubAck."""
    acks = await asyncio.gather(*(fabric.publish(f"seen.{profile_id}.{n}", b"", timeout=30) for n in range(1000)))

    assert len({ack.sequence for ack in acks}) == 1000


# --- batches ------------------------------------------------------------------------------------------------------


async def test_a_batch_is_stored_in_order(fabric, profile_id):
    """The PubAck is the last message's, the others have the sequences before it."""
    keys = [f"$KV.cfg.test.{profile_id}.{n}" for n in range(3)]
    ack = await fabric.batch([BatchMessage(key, key.encode(), {"X": "1"}, 0) for key in keys])
    stored = await fabric.get_many("KV_cfg", f"$KV.cfg.test.{profile_id}.*")

    assert [each.sequence for each in stored] == [ack.sequence - 2, ack.sequence - 1, ack.sequence]
    assert [each.data.decode() for each in stored] == keys
    assert stored[0].headers["X"] == "1"


@pytest.mark.parametrize("taken", [0, 1, 2])
async def test_a_batch_with_a_conflict_stores_nothing(fabric, profile_id, taken):
    """Wherever in the batch the key stands that is taken, none of the others is stored."""
    keys = [f"$KV.cfg.test.{profile_id}.{n}" for n in range(3)]
    await fabric.publish(keys[taken], b"taken")
    with pytest.raises(Conflict):
        await fabric.batch([BatchMessage(key, b"new", {}, 0) for key in keys])
    stored = await fabric.get_many("KV_cfg", f"$KV.cfg.test.{profile_id}.*")

    assert [(each.subject, each.data) for each in stored] == [(keys[taken], b"taken")]


async def test_a_batch_that_was_stored_before_is_a_duplicate(fabric, profile_id):
    """Its message ids say so; of a batch with one known and one new id nothing is stored."""

    def batch(*tags):
        return [BatchMessage(f"evt.0.{profile_id}.{tag}.n.m-_", b"", {"Nats-Msg-Id": profile_id + tag}) for tag in tags]

    first = await fabric.batch(batch("a", "b"))
    again, mixed = await fabric.batch(batch("a", "b")), await fabric.batch(batch("b", "c"))

    assert (first.duplicate, again.duplicate, mixed.duplicate) == (False, True, True)
    assert len(await fabric.get_many("EVT0", f"evt.0.{profile_id}.>")) == 2


async def test_a_batch_with_a_message_that_does_not_fit_stores_nothing(fabric, profile_id):
    """One that is too large stops the whole batch, and the connection goes on."""
    keys = [f"$KV.cfg.test.{profile_id}.{n}" for n in range(2)]
    with pytest.raises(TooLarge):
        await fabric.batch([BatchMessage(keys[0]), BatchMessage(keys[1], bytes(layout.MAX_PAYLOAD_BYTES))])
    await fabric.publish(keys[1], b"after")
    stored = await fabric.get_many("KV_cfg", f"$KV.cfg.test.{profile_id}.*")

    assert [each.data for each in stored] == [b"after"]
    assert fabric.generation == 1


# --- reading ------------------------------------------------------------------------------------------------------


async def test_what_is_not_there_is_none(fabric, profile_id):
    """No message of a sequence or subject, no match of a filter: empty, not an error."""
    assert await fabric.get("SEEN", sequence=10**9) is None
    assert await fabric.get("SEEN", subject=f"seen.{profile_id}.x") is None
    assert await fabric.get_many("SEEN", f"seen.{profile_id}.*") == []
    assert await fabric.get_last_many("SEEN", f"seen.{profile_id}.*") == []
    assert await fabric.counts("SEEN", f"seen.{profile_id}.*") == {}


async def test_reading_many_goes_beyond_a_page(fabric, profile_id):
    """More messages than one batched get brings, and more subjects than NATS answers for at once, all come in order."""
    number = 1100
    await asyncio.gather(*(fabric.publish(f"seen.{profile_id}.{n}", b"", timeout=30) for n in range(number)))
    pattern = f"seen.{profile_id}.*"
    expected = {f"seen.{profile_id}.{n}" for n in range(number)}

    for stored in (await fabric.get_many("SEEN", pattern), await fabric.get_last_many("SEEN", pattern)):
        assert [each.sequence for each in stored] == sorted(each.sequence for each in stored)
        assert {each.subject for each in stored} == expected
    assert await fabric.counts("SEEN", pattern) == dict.fromkeys(expected, 1)


async def test_the_newest_of_each_subject_counts(fabric, profile_id):
    """get_last_many leaves older revisions out, get_many brings them."""
    for n, key in enumerate("aba"):
        await fabric.publish(f"$KV.cfg.test.{profile_id}.{key}", str(n).encode())
    pattern = f"$KV.cfg.test.{profile_id}.*"

    assert [each.data for each in await fabric.get_last_many("KV_cfg", pattern)] == [b"1", b"2"]
    assert [each.data for each in await fabric.get_many("KV_cfg", pattern)] == [b"0", b"1", b"2"]


async def test_a_message_reads_the_same_from_its_streams_leader(fabric, profile_id, monkeypatch):
    """Subject, time, headers and every byte, whichever way it is asked for; and what is not there is not."""
    subject, body = f"hist.{profile_id}._", bytes(range(256)) * (7 * 1024 * 4)
    ack = await fabric.publish(subject, body, headers={"Clawback-Event": '{"a": "é: b"}', "Empty": ""}, timeout=30)

    async def read():
        return [
            await fabric.get("HIST", sequence=ack.sequence),
            await fabric.get("HIST", subject=subject),
            await fabric.get("HIST", subject=f"hist.{profile_id}.nobody"),
        ]

    directly = await read()
    monkeypatch.setattr(fabric, "replicas", 3)

    assert await read() == directly
    assert (directly[0].data, directly[2]) == (body, None)


@pytest.mark.parametrize("replicas", [1, 3])
async def test_a_stream_that_is_missing_is_unavailable(fabric, monkeypatch, replicas):
    """Reading from a stream that is not there says so, at once."""
    monkeypatch.setattr(fabric, "replicas", replicas)
    with pytest.raises(Unavailable, match="NOPE"):
        await fabric.get("NOPE", sequence=1)
    with pytest.raises(Unavailable, match="NOPE"):
        await fabric.get_many("NOPE", ">")
    with pytest.raises(Unavailable, match="NOPE"):
        await fabric.counts("NOPE", ">")


# --- core NATS ----------------------------------------------------------------------------------------------------


async def test_a_request_is_answered(fabric):
    """The first answer comes back, with what it holds."""
    inbox = fabric.inbox()

    def answer(message: CoreMessage) -> None:
        answers.append(asyncio.ensure_future(fabric.send(message.reply, message.data.upper())))

    answers: list[asyncio.Future] = []
    await fabric.subscribe(inbox, answer)

    assert await fabric.request(inbox, b"hello", timeout=5) == b"HELLO"


async def test_a_request_to_nobody_is_not_found(fabric):
    """Where nobody listens, no time is lost."""
    with pytest.raises(NotFound, match="nobody listens"):
        await fabric.request(fabric.inbox(), b"", timeout=60)


async def test_an_answer_that_has_come_counts_however_late_it_is_read(fabric):
    """A process that had no CPU for longer than its patience finds the answer, and does not call NATS silent."""
    asking = asyncio.create_task(fabric.api("INFO", {}, timeout=0.1))
    for _ in range(3):
        await asyncio.sleep(0)  # until it is sent
    time.sleep(0.5)  # noqa: ASYNC251 -- nothing in this process runs meanwhile

    assert "error" not in await asking


async def test_a_request_without_an_answer_is_unavailable(fabric):
    """One who listens and is silent costs the patience, not more."""
    inbox = fabric.inbox()
    await fabric.subscribe(inbox, lambda _: None)
    with pytest.raises(Unavailable, match=r"did not answer on .* within 0.05 s"):
        await fabric.request(inbox, b"", timeout=0.05)


async def test_an_ended_subscription_hears_nothing(fresh_natsd, fresh_fabric):
    """After unsubscribe no message comes, not on the next connection either."""
    ended_heard: list[bytes] = []
    kept_heard: list[bytes] = []
    ended = await fresh_fabric.subscribe("news", lambda message: ended_heard.append(message.data))
    await fresh_fabric.subscribe("news", lambda message: kept_heard.append(message.data))
    await ended.unsubscribe()
    await fresh_fabric.send("news", b"1")
    await eventually(lambda: kept_heard == [b"1"])
    fresh_natsd.restart()
    await reconnected(fresh_fabric)
    await fresh_fabric.send("news", b"2")
    await eventually(lambda: kept_heard == [b"1", b"2"])

    assert ended_heard == []


async def test_a_queue_shares_its_messages(fabric):
    """Of several subscriptions with one queue name each message reaches one."""
    heard: list[str] = []
    inbox = fabric.inbox()
    for name in "ab":
        await fabric.subscribe(inbox, lambda _, name=name: heard.append(name), queue="q")
    for _ in range(50):
        await fabric.send(inbox, b"")
    await eventually(lambda: len(heard) == 50)
    await fabric.check()

    assert len(heard) == 50


async def test_a_callback_that_fails_is_logged_and_called_again(fabric, caplog):
    """A bug in a callback costs that message only, and is in the log."""
    heard: list[bytes] = []

    def fail_once(message: CoreMessage) -> None:
        heard.append(message.data)
        if len(heard) == 1:
            raise RuntimeError("planted")

    inbox = fabric.inbox()
    await fabric.subscribe(inbox, fail_once)
    await fabric.send(inbox, b"1")
    await fabric.send(inbox, b"2")
    await eventually(lambda: len(heard) == 2)

    assert "the callback of a NATS subscription failed" in caplog.text
    assert "planted" in caplog.text


# --- losing the connection ----------------------------------------------------------------------------------------


async def test_a_publish_without_nats_fails_at_once_and_is_not_stored_later(fresh_natsd, fresh_fabric):
    """A caller who was told that it failed does not find it stored after the reconnect."""
    fresh_natsd.kill9()
    await eventually(fresh_fabric.problem)
    with pytest.raises(Unavailable, match=r"the connection to NATS at nats://127.0.0.1:\d+ is lost"):
        await fresh_fabric.publish("seen.p.late", b"", timeout=60)
    fresh_natsd.start()
    await reconnected(fresh_fabric)
    await fresh_fabric.publish("seen.p.after", b"")

    assert await fresh_fabric.counts("SEEN", "seen.>") == {"seen.p.after": 1}


async def test_who_waits_is_told_when_the_connection_is_lost(fresh_natsd, fresh_fabric):
    """An answer that cannot come any more is not waited for."""
    heard = asyncio.Event()
    await fresh_fabric.subscribe("silent", lambda _: heard.set())
    waiting = asyncio.create_task(fresh_fabric.request("silent", b"", timeout=600))
    await heard.wait()
    fresh_natsd.kill9()
    with pytest.raises(Unavailable, match="lost"):
        async with asyncio.timeout(10):
            await waiting


async def test_everything_is_back_after_a_kill_of_nats(fresh_natsd, fresh_fabric):
    """A new generation: subscriptions hear again, the bucket in memory is there again, what was stored still is."""
    heard: list[bytes] = []
    await fresh_fabric.subscribe("news.>", lambda message: heard.append(message.data))
    await fresh_fabric.publish("seen.p.e", b"")
    assert fresh_fabric.generation == 1
    fresh_natsd.restart()
    await reconnected(fresh_fabric)
    await fresh_fabric.send("news.today", b"again")
    await eventually(lambda: heard)
    await fresh_fabric.publish("$KV.sess.p._", b"1", ttl_s=30, expected_subject_sequence=0)

    assert heard == [b"again"]
    assert fresh_fabric.generation == 2
    assert await fresh_fabric.counts("SEEN", "seen.>") == {"seen.p.e": 1}
    assert await fresh_fabric.check() is None


async def test_listeners_run_in_order_after_the_layout_until_they_succeed(fresh_natsd, fresh_fabric, caplog):
    """Each listener finds the layout in place and those before it done, however often one has to try."""
    ran: list[str] = []

    async def first() -> None:
        await fresh_fabric.publish("$KV.sess.p._", b"1", ttl_s=30)
        ran.append("first")
        if ran.count("first") < 3:
            raise Unavailable("planted")

    async def second() -> None:
        ran.append("second")
        if ran.count("second") < 2:
            raise RuntimeError("planted bug")

    fresh_fabric.on_reconnect(first)
    fresh_fabric.on_reconnect(second)
    fresh_natsd.restart()
    await eventually(lambda: ran.count("second") == 2, 10.0)

    assert ran == ["first"] * 3 + ["second"] * 2
    assert "planted bug" in caplog.text


@pytest.mark.parametrize("failure", [RuntimeError("planted bug"), Unavailable("planted"), OverflowError("planted")])
async def test_a_listener_that_never_succeeds_stops_none_behind_it(fresh_natsd, fresh_fabric, failure):
    """They run, it is tried again, and whoever looks is told."""
    failing, ran = [failure], []

    async def first() -> None:
        if failing:
            raise failing[0]

    async def second() -> None:
        ran.append("second")

    fresh_fabric.on_reconnect(first)
    fresh_fabric.on_reconnect(second)
    fresh_natsd.restart()
    await eventually(lambda: ran, 10.0)
    await eventually(lambda: fresh_fabric.unrecovered is not None, 10.0)
    told = fresh_fabric.unrecovered
    failing.clear()
    await eventually(lambda: fresh_fabric.unrecovered is None, 10.0)

    assert ran == ["second"]
    assert told is not None
    assert told.startswith("1 parts are not yet as they were")


async def test_a_loss_while_catching_up_begins_again(fresh_natsd, fresh_fabric):
    """A listener that is in the way when the connection is lost once more runs again on the next one."""
    generations: list[int] = []

    async def listener() -> None:
        generations.append(fresh_fabric.generation)
        if fresh_fabric.generation == 2:
            raise Unavailable("not on this connection")

    fresh_fabric.on_reconnect(listener)
    fresh_natsd.restart()
    await eventually(lambda: 2 in generations, 10.0)
    fresh_natsd.restart()
    await eventually(lambda: 3 in generations, 10.0)
    await fresh_fabric.publish("seen.p.e", b"")

    assert fresh_fabric.problem() is None


async def test_a_listener_that_hangs_does_not_hide_the_next_loss(fresh_natsd, fresh_fabric):
    """The supervisor goes on whatever a listener waits for, and runs it anew on the next connection."""
    started: list[int] = []

    async def hang() -> None:
        started.append(fresh_fabric.generation)
        await asyncio.Event().wait()

    fresh_fabric.on_reconnect(hang)
    for generation in (2, 3):
        fresh_natsd.restart()
        await eventually(lambda generation=generation: generation in started, 10.0)
    await fresh_fabric.publish("seen.p.e", b"")

    assert started == [2, 3]


async def test_a_subscription_made_while_nats_is_away_hears_later(fresh_natsd, fresh_fabric):
    """Subscribing needs no connection: it counts from the next one on."""
    heard: list[bytes] = []
    fresh_natsd.kill9()
    await eventually(fresh_fabric.problem)
    await fresh_fabric.subscribe("news", lambda message: heard.append(message.data))
    fresh_natsd.start()
    await reconnected(fresh_fabric)
    await fresh_fabric.send("news", b"1")

    await eventually(lambda: heard == [b"1"])


async def test_the_problem_is_told_until_the_layout_stands(fresh_natsd, fresh_fabric, monkeypatch):
    """Connected is not enough: until the streams are checked there is a problem to show."""
    entered, go_on = asyncio.Event(), asyncio.Event()
    ensure = layout.ensure

    async def slow_ensure(*arguments) -> None:
        entered.set()
        await go_on.wait()
        await ensure(*arguments)

    monkeypatch.setattr(layout, "ensure", slow_ensure)
    fresh_natsd.restart()
    await entered.wait()
    meanwhile = fresh_fabric.problem()
    go_on.set()
    await reconnected(fresh_fabric)

    assert meanwhile == "connected to NATS again, but its streams are not checked yet"


async def test_a_frozen_nats_is_a_problem(fresh_natsd, fresh_fabric):
    """A server that keeps its connections and answers nothing is told by `check`, and forgiven when it answers."""
    assert await fresh_fabric.check() is None
    fresh_natsd.freeze()
    frozen = await eventually(fresh_fabric.check, 10.0)
    fresh_natsd.thaw()

    assert "did not answer" in frozen
    await eventually(lambda: answers_again(fresh_fabric), 20.0)


async def answers_again(fabric: Fabric) -> bool:
    """Tell whether NATS answers."""
    return await fabric.check() is None


async def test_a_frozen_nats_is_given_up(fresh_natsd, monkeypatch):
    """Pings find out that a server froze: then calls fail at once, closing takes no longer, and a thaw mends it."""
    monkeypatch.setattr(connection, "PING_SECONDS", 0.1)
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 0.5)
    fabrics = [await Fabric.open(fresh_natsd.auth, name="tests") for _ in range(2)]
    fresh_natsd.freeze()
    for fabric in fabrics:
        await eventually(fabric.problem, 10.0)
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match=r"the connection to NATS at .* is lost"):
            await fabrics[0].request("anybody", b"", timeout=60)
        await fabrics[0].close()
    fresh_natsd.thaw()
    await reconnected(fabrics[1])
    await fabrics[1].close()


async def test_an_error_of_the_server_that_closes_nats_py_is_survived(fresh_fabric, caplog):
    """nats-py gives up for good on a message with headers that is too large; here that is one more reconnect."""
    caplog.set_level(logging.INFO, "clawback.fabric")
    await fresh_fabric._client.publish("seen.p.x", bytes(layout.MAX_PAYLOAD_BYTES), headers={"X": "y" * 100})
    await reconnected(fresh_fabric)
    await fresh_fabric.publish("seen.p.after", b"")

    assert fresh_fabric.generation == 2
    assert "connected to NATS again" in caplog.text


async def test_a_socket_that_closed_a_moment_ago_is_a_lost_connection(fabric, monkeypatch):
    """It has a word of its own in uvloop, which nats-py passes on: no request may end as a bug of ours."""

    async def closed(*_arguments, **_options):
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    monkeypatch.setattr(fabric._client, "publish", closed)
    monkeypatch.setattr(fabric._client, "flush", closed)
    with pytest.raises(Unavailable):
        await fabric.send("core.anything", b"")
    subscription = await fabric.subscribe("core.anything", lambda _message: None)
    await subscription.unsubscribe()
