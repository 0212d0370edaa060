"""What a run means for its event, and what it is told: tables, and what a sender could try."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.commands.run_rules import Done, Ended, Failed, build_environment, judge
from clawback.settings import RUN_VARIABLES
from clawback.wire import EventFrame


def ended(code=0, output="", errors="", *, timed_out=False):
    """Make the end of a run that took a second and a half."""
    return Ended(code, timed_out, 1.5, output, errors)


@pytest.mark.parametrize(
    ("how", "verdict"),
    [
        (ended(), Done("done")),
        (ended(output="Reviewed it.\n"), Done("Reviewed it.")),
        (ended(output="one\n\ttwo\r\n", errors="a warning"), Done("one two")),
        (ended(output="\x1b[31mred\x1b[0m\x07"), Done("[31mred [0m")),
        (ended(output="x" * 1001), Done("…" + "x" * 999)),
        (ended(1), Failed("exit code 1")),
        (ended(3, "said", "complained"), Failed("exit code 3: complained")),
        (ended(3, "said"), Failed("exit code 3: said")),
        (ended(-9), Failed("ended by signal 9")),
        (ended(-15, timed_out=True), Failed("stopped after 2 s")),
        (ended(0, "almost", timed_out=True), Failed("stopped after 2 s: almost")),
    ],
)
def test_an_end_has_a_meaning(how, verdict):
    """Only exit code 0 in time is done; texts are one printable line, and its end."""
    assert judge(how) == verdict


@given(st.integers(-64, 255), st.text(), st.text(), st.booleans())
def test_a_text_is_always_one_that_the_server_takes(code, output, errors, timed_out):
    """At most 1000 characters, all of them printable, never empty."""
    verdict = judge(ended(code, output * 50, errors * 50, timed_out=timed_out))
    text = verdict.summary if isinstance(verdict, Done) else verdict.reason

    assert 0 < len(text) <= 1000
    assert text.isprintable()


@given(st.text(), st.dictionaries(st.sampled_from(["eventType", "path", "source", "attempt"]), st.text()))
def test_no_sender_writes_more_than_a_word_into_the_environment(event_id, meta):
    """Nothing that a shell, an option parser or another line could be made of, whatever the event says."""
    built = build_environment({"PATH": "/bin"}, EventFrame(event_id, "", meta), "work-x")

    assert built.keys() == RUN_VARIABLES | {"PATH", "CLAWBACK_SESSION", "CLAWBACK_EVENTS"}
    for name in RUN_VARIABLES:
        assert not set(built[name]) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:@+-")
        assert not built[name].startswith("-")
        assert len(built[name]) <= 256
