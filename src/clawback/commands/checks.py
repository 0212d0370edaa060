"""
The checks of `clawback doctor`: from what was found on this machine and at the server to what it means. Pure.

Each check takes its facts and returns findings, worst first where there are several. `FAIL` is for what keeps events
from reaching Claude, `WARN` for what may, or costs something else. A finding never holds a token.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from urllib.parse import urlsplit

from msgspec import Struct

from clawback import wire
from clawback.channel.claude.ways import FLAG_VARIABLES, PROVIDER_VARIABLES, Standing, Way, is_set
from clawback.commands.terminal import printable
from clawback.model import UNTAGGED_NAME

SKEW_NOTED_SECONDS = 5.0
"""A clock that is kept by NTP is far closer; below this lies the coarseness of HTTP's `Date`."""

SKEW_WRONG_SECONDS = 60.0
"""Senders' signed times may be off by this (Linear) or by 300 s (others): one of the two clocks would refuse them."""

UNSEEN_SECONDS = 10.0
"""Claude Code shows what arrives within seconds, and with the next tool's result during a turn."""

SOURCES_SHOWN = 20
"""In one line. Who has more looks at the page."""

FIRST_VERSION = (2, 1, 80)
"""The first Claude Code that has channels."""


class Level(StrEnum):
    """How a check went."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What one check found, and what to do about it (empty: nothing). `took_ms` is a stage's of the probe."""

    check: str
    level: Level
    found: str
    todo: str = ""
    took_ms: float | None = None


# --- the facts ------------------------------------------------------------------------------------------------------


class ConfigFile(Struct, frozen=True):
    """
    The plugin's config file, looked at before it was read: reading repairs its mode.

    `mode` and `folder_mode` are None where the file is not there, `problem` is why it cannot be used, `remote` the
    server's WebSocket URL where it can, and `messaging` whether sessions take messages.
    """

    path: str
    mode: int | None = None
    folder_mode: int | None = None
    problem: str | None = None
    remote: str | None = None
    messaging: bool = True


class Page(Struct, frozen=True):
    """One page of the server: its status, or why there was none; `reason` is what a page that is not well says."""

    url: str
    status: int | None = None
    problem: str = ""
    reason: str = ""


class Greeting(Struct, frozen=True):
    """What the server said to the token; `problem` is why nothing else is known, `refused` that it is the token."""

    problem: str | None = None
    refused: bool = False
    protocol: int = 0
    version: str = ""
    profile_id: str = ""
    sessions: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


class Program(Struct, frozen=True):
    """The `claude` of this machine; no path means that there is none, no version that it did not say one."""

    path: str | None = None
    version: str | None = None


class Registration(Struct, frozen=True):
    """
    One place where Claude Code is told to start `clawback channel`.

    `entry` is what `--dangerously-load-development-channels` calls it, `where` the file and scope, `command` the
    program, and `runs` whether that is there.
    """

    entry: str
    where: str
    command: str
    runs: bool


class RunningChannel(Struct, frozen=True):
    """A `clawback channel` that runs: the process id of its Claude Code, and None where it did not say its way."""

    claude_pid: int
    standing: Standing | None = None


# --- the checks -----------------------------------------------------------------------------------------------------


def check_config(file: ConfigFile) -> list[Finding]:
    """Check the config file: there, well-formed, and its owner's alone."""
    if file.mode is None and file.problem is not None:
        return [
            Finding(
                "config",
                Level.FAIL,
                f"there is no config that can be read: {file.path}",
                "on the server's machine: clawback token create | clawback login --token-stdin --server URL",
            )
        ]
    if file.problem is not None:
        return [Finding("config", Level.FAIL, printable(file.problem), "run clawback login, which writes a new one")]
    findings = []
    if file.mode is not None and file.mode & 0o077:
        findings.append(
            Finding(
                "config",
                Level.WARN,
                f"{file.path} had mode {file.mode:04o}, so others could read the token in it; it has 0600 now",
                "if others use this machine, replace the token: ask Claude for token_rotate, or clawback login again",
            )
        )
    if file.folder_mode is not None and file.folder_mode & 0o022:
        folder = file.path.rpartition("/")[0]
        findings.append(
            Finding(
                "config",
                Level.WARN,
                f"others may write to {folder} (mode {file.folder_mode:04o}), and could put another config there",
                f"run: chmod go-w {folder}",
            )
        )
    assert file.remote is not None, "a config without a problem was read"
    return findings or [Finding("config", Level.OK, f"{file.path}, mode 0600, leads to {show_url(file.remote)}")]


def check_tag(written: str, problem: str | None) -> Finding:
    """Check what CLAWBACK_SESSION says, if it says anything."""
    if problem is not None:
        return Finding("tag", Level.FAIL, f"CLAWBACK_SESSION is no tag: {printable(problem)}", "choose another one")
    if not written:
        todo = "to give a session a tag: CLAWBACK_SESSION=reviewer claude …"
        return Finding("tag", Level.OK, f"CLAWBACK_SESSION is not set: sessions from here are {UNTAGGED_NAME}", todo)
    return Finding("tag", Level.OK, f"CLAWBACK_SESSION: sessions from here have the tag {printable(written)}")


def check_health(page: Page) -> Finding:
    """Check that something answers at the server's address."""
    if page.status == 200:  # noqa: PLR2004 -- HTTP's own
        return Finding("server", Level.OK, f"{page.url} answers")
    if page.status is None:
        todo = "is `clawback serve` running there? Is the address right, and the way to it open?"
        return Finding("server", Level.FAIL, f"{page.url} cannot be reached: {printable(page.problem)}", todo)
    todo = "a proxy in front may not pass this path on; sessions need /ws only, which is checked next"
    return Finding("server", Level.WARN, f"{page.url} answers HTTP {page.status}", todo)


def check_readiness(page: Page) -> Finding:
    """Check that the server can take and deliver events now."""
    if page.status == 200:  # noqa: PLR2004 -- HTTP's own
        return Finding("ready", Level.OK, "it can take and deliver events now")
    if page.status == 503:  # noqa: PLR2004 -- HTTP's own
        reason = printable(page.reason) or "it gives no reason"
        todo = "look at the server's log and its NATS; a full disk looks like this too"
        return Finding("ready", Level.FAIL, f"it cannot take or deliver events now: {reason}", todo)
    answers = f"answers HTTP {page.status}" if page.status is not None else f"gives no answer: {page.problem}"
    return Finding("ready", Level.WARN, f"{page.url} {printable(answers)}", "let the proxy in front pass /readyz on")


def check_token(greeting: Greeting) -> Finding:
    """Check that the server takes the config's token."""
    if greeting.refused:
        todo = "make a new one with clawback token create on the server's machine, and save it with clawback login"
        return Finding("token", Level.FAIL, printable(greeting.problem or ""), todo)
    if greeting.problem is not None:
        todo = "a proxy in front must pass WebSockets on at /ws"
        return Finding("token", Level.FAIL, f"it could not be tried: {printable(greeting.problem)}", todo)
    return Finding("token", Level.OK, f"the server takes it: profile {printable(greeting.profile_id)}")


def check_protocol(greeting: Greeting, own_version: str) -> Finding:
    """Check that both ends speak the same protocol."""
    server = f"server {printable(greeting.version) or 'of an unknown version'}, here {own_version}"
    if greeting.protocol == wire.PROTOCOL_VERSION:
        return Finding("protocol", Level.OK, f"{wire.PROTOCOL_VERSION} at both ends ({server})")
    older = "here" if greeting.protocol > wire.PROTOCOL_VERSION else "at the server"
    return Finding(
        "protocol",
        Level.WARN,
        f"{greeting.protocol or 'not said'} at the server, {wire.PROTOCOL_VERSION} here ({server})",
        f"fields are only ever added, so most things work; update Clawback {older}",
    )


def check_sessions(greeting: Greeting) -> Finding:
    """Say who is connected now."""
    if not greeting.sessions:
        todo = "events wait until one is; with Claude Code open, /mcp shows why its clawback server is not connected"
        return Finding("sessions", Level.OK, "no session of this profile is connected now", todo)
    return Finding("sessions", Level.OK, "connected now: " + printable(", ".join(greeting.sessions)))


def check_sources(greeting: Greeting) -> Finding:
    """Say of each source whether its sender was heard of; many senders say nothing before their first event."""
    if not greeting.sources:
        return Finding("sources", Level.OK, "this profile has no source yet")
    shown = list(greeting.sources[:SOURCES_SHOWN])
    if (more := len(greeting.sources) - len(shown)) > 0:
        shown.append(f"and {more} more, which source_list has")
    return Finding("sources", Level.OK, printable("; ".join(shown)))


def check_messaging(file: ConfigFile) -> Finding:
    """Say whether sessions from here take part in messages."""
    if file.messaging:
        return Finding("messaging", Level.OK, "on: sessions can send each other messages")
    todo = 'to switch it on, set "sessionMessaging": true in the config'
    return Finding("messaging", Level.OK, "off by `sessionMessaging`: nobody can send to sessions from here", todo)


def check_clock(skew_seconds: float | None) -> Finding:
    """Check the clocks; positive means that the server's is ahead, None that the server did not say its time."""
    if skew_seconds is None:
        return Finding("clock", Level.WARN, "the server does not say its time", "compare both with `date -u`")
    size = abs(skew_seconds)
    where = "ahead of" if skew_seconds > 0 else "behind"
    if size < SKEW_NOTED_SECONDS:
        return Finding("clock", Level.OK, "the server's and this machine's agree")
    return Finding(
        "clock",
        Level.WARN if size < SKEW_WRONG_SECONDS else Level.FAIL,
        f"the server's is {size:.0f} s {where} this machine's",
        "set both by NTP: webhooks signed more than 300 s (Linear: 60 s) off the server's clock are refused",
    )


def check_claude(program: Program) -> Finding:
    """Check that Claude Code is there, and new enough to have channels."""
    if program.path is None:
        todo = "install Claude Code, or put `claude` on the PATH; `clawback work` needs neither"
        return Finding("claude", Level.WARN, "there is no `claude` on the PATH", todo)
    if program.version is None:
        return Finding("claude", Level.WARN, f"{program.path} does not say its version", "run: claude --version")
    version = printable(program.version)
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if numbers is None:
        return Finding("claude", Level.WARN, f"{program.path} calls itself {version}", "is it Claude Code?")
    if tuple(int(number) for number in numbers.groups()) < FIRST_VERSION:
        first = ".".join(map(str, FIRST_VERSION))
        return Finding("claude", Level.WARN, f"{program.path} is {version}; channels begin at {first}", "update it")
    return Finding("claude", Level.OK, f"{program.path}, {version}")


def check_gates(variables: Mapping[str, Sequence[tuple[str, str]]]) -> list[Finding]:
    """
    Check what switches channels off: for each variable where it is set, and to what.

    A value that says "off" counts as not set. What Claude Code makes of each value is not documented.
    """
    findings = []
    for name in (*FLAG_VARIABLES, *PROVIDER_VARIABLES):
        places = [where for where, value in variables.get(name, ()) if is_set(value)]
        if not places:
            continue
        why = (
            "Claude Code does not fetch its feature flags, and drops channel events without a word"
            if name in FLAG_VARIABLES
            else "Claude Code has no channels with this provider"
        )
        todo = f"unset {name} there to have events shown at once; without channels the tool event_next shows them"
        findings.append(Finding("channels", Level.WARN, f"{name} is set in {' and '.join(places)}: {why}", todo))
    if findings:
        return findings
    todo = "whether your account has the feature only Claude Code knows: claude --debug, `Channel notifications`"
    return [
        Finding("channels", Level.OK, "nothing in the environment or Claude Code's settings switches them off", todo)
    ]


def check_ways(running: Sequence[RunningChannel]) -> list[Finding]:
    """Say by which way events reach each Claude Code that runs here now."""
    if not running:
        return [Finding("way", Level.OK, "no Claude Code with `clawback channel` runs here now")]
    return [_check_way(each) for each in running]


def _check_way(channel: RunningChannel) -> Finding:
    claude, standing = f"Claude Code, process {channel.claude_pid}", channel.standing
    hopeless = standing is not None and standing.gate and standing.way is Way.CHANNEL
    if standing is not None and standing.unseen is not None and (hopeless or standing.unseen_seconds >= UNSEEN_SECONDS):
        event, age = printable(standing.unseen), standing.unseen_seconds
        # Where an ack came by that way before, this one may just be without a witness.
        return Finding(
            "way",
            Level.WARN if standing.seen else Level.FAIL,
            f"{claude}: event {event} is in flight for {age:.0f} s and nobody is known to have seen it;"
            f" {printable(str(standing))}",
            "ask Claude there to call event_next, which shows it; run clawback install, whose plugin has further ways"
            " to Claude and sees what arrives",
        )
    if standing is None:
        todo = "it is stuck, or of another version than this one: reconnect clawback with /mcp there"
        return Finding("way", Level.WARN, f"{claude}: its channel does not say its way", todo)
    found = f"{claude}: {printable(str(standing))}"
    if standing.gate and standing.way is Way.CHANNEL and not standing.seen:
        todo = (
            f"event_next shows events there, nothing else shows them at once: unset {standing.gate}, or install the"
            " plugin, which has other ways"
        )
        return Finding("way", Level.WARN, found, printable(todo))
    return Finding("way", Level.OK, found)


def check_registration(program: Program, registrations: Sequence[Registration]) -> list[Finding]:
    """Check that Claude Code starts `clawback channel`, once, and that what it starts is there."""
    if not registrations:
        level = Level.WARN if program.path is None else Level.FAIL
        todo = "run: clawback install"
        return [Finding("registered", level, "Claude Code is not told of `clawback channel`", todo)]
    findings = [
        Finding(
            "registered",
            Level.FAIL,
            f"{printable(each.entry)} ({each.where}) starts {printable(each.command)}, which is not there",
            "put it on the PATH of your login shell, or register it again with its whole path",
        )
        for each in registrations
        if not each.runs
    ]
    if len(registrations) > 1:
        names = " and ".join(f"{each.entry} ({each.where})" for each in registrations)
        todo = "keep one: claude mcp remove NAME, or claude plugin uninstall NAME"
        found = f"more than once, so a session connects twice and one of them stands by: {printable(names)}"
        findings.append(Finding("registered", Level.WARN, found, todo))
    if findings:
        return findings
    (only,) = registrations
    todo = f"start sessions with: claude --dangerously-load-development-channels {printable(only.entry)}"
    return [Finding("registered", Level.OK, f"{printable(only.entry)} ({only.where})", todo)]


def show_url(url: str) -> str:
    """Show a URL without its query, where some proxies want a secret."""
    parts = urlsplit(url)
    return printable(f"{parts.scheme}://{parts.netloc}{parts.path}" + ("?…" if parts.query else ""))
