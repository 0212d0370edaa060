"""What doctor makes of what it found: each check as a table of facts and the findings they lead to."""

import pytest

from clawback.channel.claude.ways import Standing, Way
from clawback.commands import checks
from clawback.commands.checks import ConfigFile, Greeting, Level, Page, Program, Registration, RunningChannel

FINE = ConfigFile("/home/a/config.json", 0o600, 0o700, None, "wss://claw.example.com/ws")
CLAUDE = Program("/usr/bin/claude", "2.1.330 (Claude Code)")
SERVER = Registration("server:clawback", "/home/a/.claude.json", "/usr/bin/clawback", runs=True)
PLUGIN = Registration("plugin:clawback@market", "installed in /p", "clawback", runs=True)
GONE = Registration("server:c", "/home/a/.mcp.json", "/gone", runs=False)


def changed(file, **fields):
    """Make the same config file with other facts."""
    return ConfigFile(**{name: getattr(file, name) for name in file.__struct_fields__} | fields)


@pytest.mark.parametrize(
    ("file", "level", "found", "todo"),
    [
        (FINE, Level.OK, "/home/a/config.json, mode 0600, leads to wss://claw.example.com/ws", ""),
        (changed(FINE, mode=0o644), Level.WARN, "had mode 0644", "token_rotate"),
        (changed(FINE, mode=0o640), Level.WARN, "had mode 0640", "token_rotate"),
        (changed(FINE, folder_mode=0o775), Level.WARN, "others may write to /home/a ", "chmod go-w /home/a"),
        (changed(FINE, folder_mode=0o755), Level.OK, "mode 0600", ""),
        (changed(FINE, remote="wss://c/ws?key=planted"), Level.OK, "leads to wss://c/ws?…", ""),
        (ConfigFile("/a", problem="None."), Level.FAIL, "no config that can be read: /a", "login --token-stdin"),
        (ConfigFile("/a", 0o600, problem="It is\x1b[2J wrong."), Level.FAIL, "It is [2J wrong.", "clawback login"),
    ],
)  # fmt: skip
def test_the_config(file, level, found, todo):
    """It has to be there, be read, and be its owner's alone."""
    (finding,) = checks.check_config(file)

    assert finding.level is level
    assert found in finding.found
    assert todo in finding.todo
    assert "planted" not in finding.found
    assert "\x1b" not in finding.found


def test_a_config_can_be_wrong_in_two_ways():
    """Each has its line."""
    found = checks.check_config(changed(FINE, mode=0o666, folder_mode=0o777))

    assert [each.level for each in found] == [Level.WARN, Level.WARN]


@pytest.mark.parametrize(
    ("written", "problem", "level", "found"),
    [
        ("", None, Level.OK, "(untagged)"),
        ("reviewer", None, Level.OK, "the tag reviewer"),
        ("a b", "it holds a space", Level.FAIL, "no tag: it holds a space"),
    ],
)
def test_the_tag(written, problem, level, found):
    """A session whose tag the server refuses never connects."""
    finding = checks.check_tag(written, problem)

    assert finding.level is level
    assert found in finding.found


@pytest.mark.parametrize(
    ("check", "page", "level", "found"),
    [
        (checks.check_health, Page("u", 200), Level.OK, "u answers"),
        (checks.check_health, Page("u", 404), Level.WARN, "HTTP 404"),
        (checks.check_health, Page("u", problem="refused"), Level.FAIL, "cannot be reached: refused"),
        (checks.check_readiness, Page("u", 200), Level.OK, "can take and deliver"),
        (checks.check_readiness, Page("u", 503, reason="NATS is\naway"), Level.FAIL, "now: NATS is away"),
        (checks.check_readiness, Page("u", 503), Level.FAIL, "it gives no reason"),
        (checks.check_readiness, Page("u", 404), Level.WARN, "HTTP 404"),
        (checks.check_readiness, Page("u", problem="reset"), Level.WARN, "no answer: reset"),
    ],
)
def test_the_servers_pages(check, page, level, found):
    """A proxy that hides a page is no failure of the server's."""
    finding = check(page)

    assert finding.level is level
    assert found in finding.found
    assert finding.todo or level is Level.OK


@pytest.mark.parametrize(
    ("greeting", "level", "found"),
    [
        (Greeting(profile_id="p1", protocol=1), Level.OK, "profile p1"),
        (Greeting("s refuses the token: revoked", refused=True), Level.FAIL, "refuses the token: revoked"),
        (Greeting("s answers HTTP 400"), Level.FAIL, "could not be tried: s answers HTTP 400"),
    ],
)
def test_the_token(greeting, level, found):
    """Refused is another thing than not asked."""
    finding = checks.check_token(greeting)

    assert finding.level is level
    assert found in finding.found


def test_the_sources():
    """Each with what is known of its sender, up to a bound."""
    many = tuple(f"s{number} (github)" for number in range(30))

    assert "no source yet" in checks.check_sources(Greeting()).found
    assert checks.check_sources(Greeting(sources=("a (github) connected", "b (none)"))).found.endswith("; b (none)")
    assert checks.check_sources(Greeting(sources=many)).found.endswith("and 10 more, which source_list has")


@pytest.mark.parametrize(
    ("protocol", "level", "todo"),
    [(1, Level.OK, ""), (2, Level.WARN, "update Clawback here"), (0, Level.WARN, "update Clawback at the server")],
)
def test_the_protocol(protocol, level, todo):
    """It says which end is the older one."""
    finding = checks.check_protocol(Greeting(protocol=protocol, version="9.9"), "0.1")

    assert finding.level is level
    assert "server 9.9, here 0.1" in finding.found
    assert todo in finding.todo


@pytest.mark.parametrize(
    ("skew", "level", "found"),
    [
        (None, Level.WARN, "does not say"),
        (0.4, Level.OK, "agree"),
        (-4.9, Level.OK, "agree"),
        (5.0, Level.WARN, "5 s ahead of this"),
        (-59.0, Level.WARN, "59 s behind this"),
        (60.0, Level.FAIL, "60 s ahead of this"),
        (-3600.0, Level.FAIL, "3600 s behind this"),
    ],
)
def test_the_clocks(skew, level, found):
    """Either way, around each limit."""
    finding = checks.check_clock(skew)

    assert finding.level is level
    assert found in finding.found


@pytest.mark.parametrize(
    ("program", "level", "found"),
    [
        (CLAUDE, Level.OK, "2.1.330"),
        (Program("/c", "2.1.80 (Claude Code)"), Level.OK, "2.1.80"),
        (Program("/c", "2.1.79 (Claude Code)"), Level.WARN, "begin at 2.1.80"),
        (Program("/c", "1.9.100"), Level.WARN, "begin at 2.1.80"),
        (Program("/c", "something else"), Level.WARN, "calls itself something else"),
        (Program("/c"), Level.WARN, "does not say its version"),
        (Program(), Level.WARN, "no `claude` on the PATH"),
    ],
)
def test_claude_code(program, level, found):
    """Versions are compared as numbers, not as text."""
    finding = checks.check_claude(program)

    assert finding.level is level
    assert found in finding.found


@pytest.mark.parametrize("name", [*checks.FLAG_VARIABLES, *checks.PROVIDER_VARIABLES])
def test_each_gate_is_named_with_its_place(name):
    """Where it is set is half of what there is to do."""
    (finding,) = checks.check_gates({name: [("this shell's environment", "0"), ("/s.json", "1")]})

    assert finding.level is Level.WARN
    assert f"{name} is set in /s.json:" in finding.found
    assert name in finding.todo


@pytest.mark.parametrize("value", ["", "0", "false", "No", " off "])
def test_a_variable_that_says_off_is_no_gate(value):
    """And what is no gate is not looked at."""
    (finding,) = checks.check_gates({"DO_NOT_TRACK": [("here", value)], "HOME": [("here", "/home/a")]})

    assert finding.level is Level.OK


GATE = "DO_NOT_TRACK"


@pytest.mark.parametrize(
    ("standing", "level", "found", "todo"),
    [
        (Standing(Way.MONITOR, seen=True), Level.OK, "process 7: Events reach Claude by the monitor, as was seen.", ""),
        (Standing(Way.CHANNEL, seen=False), Level.OK, "goes by the channel; none was seen to arrive yet", ""),
        (Standing(Way.INBOX, seen=False, gate=GATE), Level.OK, f"by the inbox ({GATE} switches channels off)", ""),
        (Standing(Way.TOOL, seen=True, gate=GATE), Level.OK, f"by the tool, as was seen ({GATE}", ""),
        (Standing(Way.CHANNEL, seen=False, gate=GATE), Level.WARN, f"by the channel ({GATE}", f"unset {GATE}"),
        (None, Level.WARN, "does not say its way", "/mcp"),
    ],
)  # fmt: skip
def test_the_way_of_each_session(standing, level, found, todo):
    """Only where nothing shows events at once there is something to do."""
    fine = RunningChannel(8, Standing(Way.CHANNEL, seen=True))
    finding, other = checks.check_ways([RunningChannel(7, standing), fine])

    assert finding.level is level
    assert found in finding.found
    assert todo in finding.todo
    assert bool(todo) is bool(finding.todo)
    assert other.level is Level.OK


@pytest.mark.parametrize(
    ("standing", "level"),
    [
        (Standing(Way.CHANNEL, seen=False, unseen="evt_a", unseen_seconds=60.0), Level.FAIL),
        (Standing(Way.MONITOR, seen=False, gate="DO_NOT_TRACK", unseen="evt_a", unseen_seconds=60.0), Level.FAIL),
        (Standing(Way.CHANNEL, seen=False, gate="DO_NOT_TRACK", unseen="evt_a", unseen_seconds=0.1), Level.FAIL),
        (Standing(Way.CHANNEL, seen=True, unseen="evt_a", unseen_seconds=60.0), Level.WARN),
        (Standing(Way.CHANNEL, seen=False, unseen="evt_a", unseen_seconds=1.0), Level.OK),
    ],
)
def test_an_event_in_flight_that_nobody_saw_is_a_fault(standing, level):
    """It will time out. One that is new may arrive yet; where others arrived, this one may just lack a witness."""
    (finding,) = checks.check_ways([RunningChannel(7, standing)])

    assert finding.level is level
    assert ("evt_a is in flight" in finding.found) is (level is not Level.OK)
    assert ("clawback install" in finding.todo) is (level is not Level.OK)


def test_no_session_is_no_fault():
    """Doctor is run before the first one, too."""
    (finding,) = checks.check_ways([])

    assert finding.level is Level.OK
    assert "no Claude Code" in finding.found


@pytest.mark.parametrize(
    ("program", "registrations", "levels", "found", "todo"),
    [
        (CLAUDE, [SERVER], [Level.OK], "server:clawback", "channels server:clawback"),
        (CLAUDE, [PLUGIN], [Level.OK], "plugin:clawback@market", "channels plugin:clawback@market"),
        (CLAUDE, [], [Level.FAIL], "not told", "clawback install"),
        (Program(), [], [Level.WARN], "not told", "clawback install"),
        (CLAUDE, [SERVER, PLUGIN], [Level.WARN], "more than once", "claude mcp remove"),
        (CLAUDE, [GONE], [Level.FAIL], "/gone, which is not there", "PATH"),
        (CLAUDE, [SERVER, GONE], [Level.FAIL, Level.WARN], "not there", "PATH"),
    ],
)  # fmt: skip
def test_the_registration(program, registrations, levels, found, todo):
    """Once, and of a program that is there; how to start a session follows from its name."""
    findings = checks.check_registration(program, registrations)

    assert [each.level for each in findings] == levels
    assert found in findings[0].found
    assert todo in findings[0].todo
