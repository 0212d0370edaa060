import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clawback.errors import Rejected
from clawback.fabric import subjects
from clawback.model import Address, Priority, new_id, random_id

PLAIN_TOKEN = set("abcdefghijklmnopqrstuvwxyz0123456789-_")

texts = st.text(st.characters(exclude_categories=["Cs"]))
tags = st.none() | st.text(st.characters(categories=["L", "M", "N"]) | st.sampled_from("-_.:/@"), min_size=1).map(
    lambda text: unicodedata.normalize("NFC", text)
).filter(lambda tag: len(tag.encode()) <= subjects.MAX_TAG_BYTES)
profile_ids = st.builds(random_id, st.just(16))
addresses = st.builds(Address, profile_ids, tags)


@given(texts)
@example("*")
@example(">")
@example("a.b c\r\n")
@example("Déploys.EU")
def test_any_text_becomes_one_harmless_token(text):
    """No text can bring a wildcard, a dot, a blank or a line end into a subject."""
    token = subjects.encode_token(text)

    assert set(token) <= PLAIN_TOKEN


@given(texts)
@example("_41")
@example("é")
def test_a_token_reads_back_as_its_text(text):
    """Encoding loses nothing."""
    assert subjects.decode_token(subjects.encode_token(text)) == text


@given(texts, texts)
@example("A", "_41")
def test_two_texts_never_share_a_token(one, other):
    """Encoding is one to one, so no text can pass for another."""
    assert (subjects.encode_token(one) == subjects.encode_token(other)) == (one == other)


@given(st.text(st.sampled_from("ab-_0123456789f.*A")))
@example("_")
@example("_4")
@example("_zz")
@example("_61")
@example("_C3")
@example("_ff")
@example("_ 1")
@example("_é1")
def test_only_what_was_encoded_decodes(token):
    """Anything but the one encoding of a text is refused with ValueError, whatever it is."""
    try:
        text = subjects.decode_token(token)
    except ValueError:
        return

    assert subjects.encode_token(text) == token


@given(tags)
def test_no_tag_looks_untagged(tag):
    """The token of the untagged address is nobody else's."""
    token = subjects.tag_token(tag)

    assert (token == subjects.UNTAGGED) == (tag is None)
    assert subjects.parse_tag_token(token) == tag


@given(addresses, st.sampled_from(Priority), st.integers(0, 63))
def test_an_event_subject_reads_back(address, priority, shard):
    """What a subject was built from can be read from it, and from its wake-up; tags never change the token count."""
    subject = subjects.event_subject(shard, address, priority, subjects.source_maker(new_id("src")))
    parsed = subjects.parse_event_subject(subject)
    woken = subjects.parse_event_subject(subjects.wake_subject(subject))

    assert subject.count(".") == 5
    assert (parsed.shard, parsed.address, parsed.priority) == (shard, address, priority)
    assert woken == parsed


@given(addresses, st.sampled_from(Priority))
def test_names_of_an_address_fit_nats(address, priority):
    """Subjects keep their token count, and consumer names hold nothing that NATS refuses, at any length of a tag."""
    name = subjects.consumer_name(address, priority)

    assert subjects.stack_subject(address).count(".") == 2
    assert subjects.history_subject(address).count(".") == 2
    assert subjects.dead_subject(address, "timed_out", "evt_a").count(".") == 4
    assert subjects.parse_dead_subject(subjects.dead_subject(address, "timed_out", "evt_a")) == (
        address,
        "timed_out",
        "evt_a",
    )
    assert subjects.lane_filter(0, address).count(".") == 4
    assert subjects.line_filter(0, address, priority).count(".") == 5
    assert len(name) <= 255
    assert not set(name) & set(" .*>/\\\t\r\n")


@pytest.mark.parametrize(
    "subject",
    [
        "evt.0.p._.n",
        "evt.0.p._.n.m.x",
        "other.0.p._.n.m",
        "evt.0.p._.q.m",
        "evt.x.p._.n.m",
        "evt.0.p._4.n.m",
        "",
    ],
)
def test_a_foreign_subject_is_refused(subject):
    """What is no event's subject raises ValueError and is not half understood."""
    with pytest.raises(ValueError, match=r".+"):
        subjects.parse_event_subject(subject)


@given(profile_ids, st.integers(1, 64))
def test_a_profile_has_one_shard(profile_id, shards):
    """The shard is in range and always the same."""
    shard = subjects.shard_of(profile_id, shards)

    assert 0 <= shard < shards
    assert shard == subjects.shard_of(profile_id, shards)


def test_profiles_spread_over_the_shards():
    """No shard is left out or overloaded: of 800 profiles each of 8 gets its part."""
    counts = [0] * 8
    for _ in range(800):
        counts[subjects.shard_of(random_id(16), 8)] += 1

    assert min(counts) > 50


@pytest.mark.parametrize("text", [None, "", "(untagged)"])
def test_no_tag_is_no_tag(text):
    """Absent, empty and the reserved name all mean the untagged address."""
    assert subjects.normalise_tag(text) is None


@pytest.mark.parametrize(
    "text", ["deploys", "Deploys.EU", "a/b:c@d_e-f", "日本語", "x" * 64, "é" * 32, "٣", "(untagged)x"[10:]]
)
def test_a_tag_is_kept_as_typed(text):
    """Letters of any script, digits and the punctuation of paths and hosts stay as they are."""
    assert subjects.normalise_tag(text) == text


def test_two_spellings_of_a_letter_are_one_tag():
    """Composed and decomposed text is the same tag: macOS types one, Linux the other."""
    assert subjects.normalise_tag("e\N{COMBINING ACUTE ACCENT}") == "é"


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "a*",
        "a,b",
        "a b",
        " a",
        "a\n",
        "a\0",
        "(untagged) ",
        "<b>",
        '"',
        "`x`",
        "$(x)",
        "\u202eabc",
        "\ud800",
        "x" * 65,
        "é" * 33,
        "🙂",
    ],
)
def test_a_wrong_tag_is_refused_with_the_rule(text):
    """Whatever could be read as syntax, or is too long, is refused, and the sentence says what a tag is."""
    with pytest.raises(Rejected, match="a tag is letters, digits"):
        subjects.normalise_tag(text)


@given(st.text())
def test_a_normalised_tag_is_normal(text):
    """Normalising twice changes nothing, and what passes is short enough for every name."""
    try:
        tag = subjects.normalise_tag(text)
    except Rejected:
        return

    assert subjects.normalise_tag(tag) == tag
    assert tag is None or 0 < len(tag.encode()) <= subjects.MAX_TAG_BYTES


@given(texts, texts)
def test_config_keys_keep_their_place(name, slug):
    """Text in a key never changes its token count, and a key is read back from bucket and change alike."""
    keys = [subjects.profile_name_key(name), subjects.slug_key("p", slug), subjects.webhook_key(name)]

    assert [key.count(".") for key in keys] == [1, 2, 1]
    for key in keys:
        assert subjects.parse_config_subject(subjects.config_subject(key)) == key
        assert subjects.parse_config_subject(f"changed.cfg.{key}") == key


def test_a_foreign_config_subject_is_refused():
    """What is no subject of the bucket raises ValueError."""
    with pytest.raises(ValueError, match="not a subject of "):
        subjects.parse_config_subject("evt.0.p._.n.m")


@given(st.sampled_from(["alice", "a", "p_2"]), st.integers(0, 7))
def test_news_are_of_one_profile_alone(profile_id, shard):
    """Its id stands in every subject as a token of its own, before any wildcard."""
    for subject in subjects.news_filters(shard, profile_id):
        before_wildcards = subject.split("*")[0].split(">")[0].split(".")

        assert profile_id in before_wildcards, subject


@pytest.mark.parametrize("standby", [None, "conn1"])
def test_a_leases_subject_is_read_back_also_where_it_was_given_up(standby):
    """With the connection that stood by, if it was one's."""
    address = Address("alice", "Déploys/1")

    for subject in (subjects.lease_subject(address, standby), subjects.left_subject(address, standby)):
        assert subjects.parse_lease_subject(subject) == (address, standby)
    with pytest.raises(ValueError, match="not a subject of"):
        subjects.parse_lease_subject("stack.alice._")


@pytest.mark.parametrize(
    ("text", "is_id"),
    [
        pytest.param(new_id("src"), True, id="an id"),
        pytest.param(random_id(16), True, id="a profile's id"),
        ("", False),
        ("*", False),
        ("src.x", False),
        ("src_x\n", False),
        ("SRC", False),
        ("a" * 65, False),
    ],
)
def test_only_ids_of_ours_enter_a_subject_as_they_are(text, is_id):
    """A wildcard in the place of an id would reach other people's things."""
    assert subjects.is_id(text) is is_id


def test_what_stands_beside_the_bound_is_in_its_line():
    """A put-back in a line at its bound has a subject of its own there."""
    line = subjects.event_subject(1, Address("p", "t"), Priority.NORMAL, "w-a")
    beside = subjects.parse_event_subject(subjects.beside_bound(line, "12"))

    assert beside == subjects.parse_event_subject(line)
