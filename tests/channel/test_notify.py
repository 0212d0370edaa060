"""Desktop notifications: stub programs on PATH, and summaries that would like to be more than text."""

import json
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channel.claude import Claude, config_file
from channel.peer import eventually
from clawback.channel.notify import MAX_CHARACTERS, Notifier, build_command

HOSTILE = {
    "$(touch canary)": "$(touch canary)",
    "`touch canary`": "`touch canary`",
    "'; touch canary; '": "'; touch canary; '",
    '"; touch canary; "': '"; touch canary; "',
    '" & (do shell script "touch canary") & "': '" & (do shell script "touch canary") & "',
    "--help": "--help",
    "one\ntwo\r\n\x1b[31mthree\x00four": "one two  [31mthreefour",
    "half a pair \ud800": "half a pair ",
}
"""What a summary is, and what may become of it: control characters go, line breaks become blanks."""

STUB = """#!{python}
import json, sys
with open({log!r}, "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
sys.exit({code})
"""


class Stub:
    """A program that writes down its arguments, first on PATH."""

    def __init__(self, directory, name, code=0):
        self._log = directory / f"{name}.log"
        program = directory / name
        program.write_text(STUB.format(python=sys.executable, log=str(self._log), code=code))
        program.chmod(0o755)

    def runs(self):
        """The arguments of each run."""
        return [json.loads(line) for line in self._log.read_text().splitlines()] if self._log.exists() else []


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A directory that comes first on PATH; commands that leak run in another, where nothing is."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return directory


@pytest.mark.parametrize(("platform", "name"), [("linux", "notify-send"), ("darwin", "osascript")])
@pytest.mark.parametrize("summary", HOSTILE)
async def test_a_hostile_summary_is_one_argument_of_one_program(programs, tmp_path, platform, name, summary):
    """Nothing of it is run, read as an option or split."""
    stub = Stub(programs, name)
    notifier = Notifier(platform)
    notifier.notify(summary, "/github push")
    await eventually(lambda: not notifier._showing)
    (arguments,) = stub.runs()

    after = arguments[arguments.index("--") + 1 :]
    assert after == [HOSTILE[summary], "/github push"]
    assert arguments[: arguments.index("--") + 1] == build_command(platform, "", "")[1:-2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin"]


@given(st.text(), st.text())
def test_any_text_fits_an_argument_list(text, about):
    """No NUL, no half of a pair, nothing too long; what is markup on a desktop is left out of the body."""
    for platform in ("linux", "darwin"):
        *_, separator, first, second = build_command(platform, text, about)

        assert separator == "--"
        assert max(len(first), len(second)) <= MAX_CHARACTERS
        assert "\0" not in os.fsencode(first).decode() + os.fsencode(second).decode()
    assert not set("<>&") & set(build_command("linux", text, about)[-1])


def test_a_plain_text_stays_what_it_is():
    """Quotes, brackets, ampersands and emoji are text in a heading."""
    text = "Merged “fix <T> & co” 👩‍💻 – done"  # noqa: RUF001 -- what people write

    assert build_command("linux", text, "/github")[-2:] == [text, "/github"]
    assert build_command("darwin", text, "/github")[-2:] == [text, "/github"]


@pytest.mark.parametrize("code", [None, 1], ids=["missing", "fails"])
async def test_what_cannot_be_shown_is_logged_once(programs, monkeypatch, caplog, code):
    """A machine without a desktop is no reason for anything."""
    monkeypatch.setenv("PATH", str(programs))
    stub = None if code is None else Stub(programs, "notify-send", code)
    notifier = Notifier("linux")
    for _ in range(3):
        notifier.notify("done", "")
    await eventually(lambda: not notifier._showing)

    assert len(caplog.records) == 1
    assert "no desktop notification could be shown with notify-send" in caplog.text
    assert stub is None or len(stub.runs()) == 3


@pytest.mark.parametrize("wanted", [True, False, None])
async def test_a_done_event_is_shown_where_the_config_says_so(peer, tmp_path, programs, wanted):
    """With its summary and what it was; off by default, and nothing is shown for an ack that is none."""
    stub = Stub(programs, "notify-send" if sys.platform != "darwin" else "osascript")
    config = config_file(tmp_path, peer.url, **({} if wanted is None else {"notifications": wanted}))
    async with Claude(config, PATH=os.environ["PATH"]) as claude:
        event_id = await peer.deliver()
        await claude.event(1)
        await claude.call("event_ack", event_id="evt_stranger", summary="no")
        text, failed = await claude.call("event_ack", event_id=event_id, summary="reviewed $(touch canary)")
        await claude.call("event_ack", event_id=event_id, summary="again")
        await peer.told(event_id)
        if wanted:
            await eventually(stub.runs)

    assert (text, failed) == (f"Event {event_id} is acknowledged.", False)
    assert [run[-2:] for run in stub.runs()] == (
        [["reviewed $(touch canary)", "/github pull_request.opened"]] if wanted else []
    )
