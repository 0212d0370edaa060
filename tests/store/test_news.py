"""What messages mean to somebody who looks on: small, and nothing of a payload."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.fabric import subjects
from clawback.fabric.jetstream import CoreMessage
from clawback.model import Address, Event, EventState, Held, HistoryRecord, Origin, Priority, Refusal, encode_json
from clawback.store.events import EVENT_HEADER
from clawback.store.news import MAX_SUMMARY_CHARACTERS, News, NewsType, read_lease, read_news
from clawback.store.records import OPERATION_HEADER

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ALICE = Address("alice", "Déploys/1")
STACK = subjects.stack_subject(ALICE)


def heard(subject, data=b"", **headers):
    """Make a message as a subscription hears it."""
    return CoreMessage(subject, "", {name.replace("_", "-"): value for name, value in headers.items()}, data)


def test_an_event_in_its_line_is_queued():
    """The wake-up tells; the order, which is the user's text, is not handed on."""
    event = Event(
        "evt_a", Origin.WEBHOOK, Priority.PRIORITY, NOW, path="/hub", event_type="push", skill="/secret", attempts=2
    )
    subject = subjects.wake_subject(subjects.event_subject(1, ALICE, Priority.PRIORITY, "w-src_a"))
    news = read_news(heard(subject, encode_json(event)), NOW)

    assert news == [
        News(
            NewsType.EVENT,
            NOW,
            "queued",
            event_id="evt_a",
            session_tag="Déploys/1",
            source=Origin.WEBHOOK,
            path="/hub",
            event_type="push",
            priority=Priority.PRIORITY,
            attempt=2,
        )
    ]
    assert b"secret" not in encode_json(news)


def test_a_stack_tells_of_its_top_and_of_what_was_put_off():
    """Suspended events were told of when they were on top."""
    stack = [
        Held("evt_suspended", 1, Priority.NORMAL, 1),
        Held("evt_active", 2, Priority.INTERRUPT, 3),
        Held("evt_off", 3, Priority.INTERRUPT, 1, returns_at=NOW.timestamp()),
    ]
    news = read_news(heard(STACK, encode_json(stack)), NOW)

    assert [(each.event_id, each.state, each.attempt, each.returns_at) for each in news] == [
        ("evt_off", "queued", 1, NOW),
        ("evt_active", "offered", 3, None),
    ]
    assert {each.session_tag for each in news} == {"Déploys/1"}


def test_a_stack_tells_that_its_top_was_seen():
    """By the session's model, of which its frame alone is no proof."""
    (news,) = read_news(heard(STACK, encode_json([Held("evt_a", 1, Priority.NORMAL, 1, seen_at=1.0)])), NOW)

    assert (news.event_id, news.state) == ("evt_a", "claimed")


def test_an_empty_stack_is_no_news():
    """A session that holds nothing was told of by what ended."""
    assert read_news(heard(STACK, b"[]"), NOW) == []


@pytest.mark.parametrize("subject", [subjects.history_subject(ALICE), subjects.drop_subject("alice")])
def test_an_end_is_told_with_its_reason_and_the_start_of_its_summary(subject):
    """The rest of a long summary is in the history."""
    record = HistoryRecord(
        "evt_a", "webhook", EventState.DEAD, NOW, path="/hub", summary="x" * 5000, attempts=5, reason="crash_loop"
    )
    (news,) = read_news(heard(subject, encode_json(record)), NOW)

    assert (news.type, news.state, news.event_id, news.reason, news.attempt) == (
        NewsType.EVENT,
        "dead",
        "evt_a",
        "crash_loop",
        5,
    )
    assert news.summary == "x" * MAX_SUMMARY_CHARACTERS
    assert news.session_tag is None


@pytest.mark.parametrize(
    ("key", "type_", "id_"),
    [
        (subjects.source_key("alice", "src_a"), NewsType.SOURCE, "src_a"),
        (subjects.cron_key("alice", "crn_a"), NewsType.CRON, "crn_a"),
        (subjects.token_id_key("alice", "tok_a"), NewsType.TOKEN, "tok_a"),
        (subjects.profile_key("alice"), NewsType.PROFILE, "alice"),
    ],
)
def test_a_change_of_the_profile_names_what_changed_and_nothing_of_it(key, type_, id_):
    """The record itself has a sealed secret or a token's hash in it."""
    subject = f"changed.cfg.{key}"

    assert read_news(heard(subject, b'{"secret":1}'), NOW) == [News(type_, NOW, "changed", id=id_)]
    deletion = CoreMessage(subject, "", {OPERATION_HEADER: "DEL"}, b"")
    assert read_news(deletion, NOW) == [News(type_, NOW, "removed", id=id_)]


def test_a_refused_webhook_is_told_with_its_status_and_reason():
    """Who sent it is for whoever looks."""
    refusal = Refusal(NOW, 401, "the signature is wrong", "192.0.2.7", "d1")
    news = read_news(heard(subjects.refused_subject("alice", "src_a"), encode_json(refusal)), NOW)

    assert news == [News(NewsType.REFUSED, NOW, "401", id="src_a", reason="the signature is wrong")]


def test_a_session_that_takes_no_messages_is_news_of_a_session():
    """There is no record of its own for it in the lists."""
    news = read_news(heard(f"changed.cfg.{subjects.quiet_key(ALICE)}", b'"x"'), NOW)

    assert news == [News(NewsType.SESSION, NOW, "changed", session_tag="Déploys/1")]


@given(
    st.sampled_from(
        [
            "wake.0.alice._.n.w-src_a",
            "wake.0.alice._",
            "wake.x.alice._zz.n.m",
            "stack.alice._zz",
            STACK,
            "hist.alice._",
            "drop.alice",
            "refused.alice.src_a",
        ]
    ),
    st.one_of(st.binary(max_size=40), st.sampled_from([b"[[]]", b'[{"eventId":"a"}]', b"[" * 100_000])),
    st.one_of(st.none(), st.text(max_size=20)),
)
def test_what_cannot_be_read_is_no_news(subject, data, header):
    """Anybody on NATS can publish there; nobody's feed ends by it."""
    message = CoreMessage(subject, "", {} if header is None else {EVENT_HEADER: header}, data)

    assert read_news(message, NOW) == []


@pytest.mark.parametrize("subject", ["$KV.sess.alice._", "$KV.sess.alice._zz", "left.alice._zz"])
def test_a_lease_that_cannot_be_read_is_nobodys(subject):
    """The same holds for who gave one up."""
    assert read_lease(heard(subject, b"[]")) is None
