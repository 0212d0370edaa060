"""The command line, run as a program."""

import asyncio
import itertools
import json
import os
import re
import shlex
import subprocess
import sys

import click
import pytest

from clawback import __version__
from clawback.accounts.tokens import looks_like_token, token_hash
from clawback.cli import root
from clawback.fabric.embedded import EmbeddedNats
from clawback.fabric.streams import Fabric
from clawback.store.registry import Registry

COMMANDS = [
    [],
    ["serve"],
    ["token"],
    ["token", "create"],
    ["token", "list"],
    ["token", "revoke"],
    ["login"],
    ["install"],
    ["channel"],
    ["hook"],
    ["monitor"],
    ["doctor"],
    ["trigger"],
    ["work"],
    ["tail"],
    ["nats-env"],
    ["completion"],
]


@pytest.fixture
def clawback(tmp_path):
    """Run `clawback` with a home and a data directory of the test's own."""

    def run(*arguments, stdin="", **environment):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CLAWBACK_")}
        settings = {"HOME": str(tmp_path), "CLAWBACK_DATA_DIR": str(tmp_path / "data"), **environment}
        return subprocess.run(
            [sys.executable, "-m", "clawback", *arguments],
            env=clean | settings,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def store(tmp_path):
    """Let a server have kept its data in that directory; it does not run."""

    async def start_and_stop():
        async with EmbeddedNats(tmp_path / "data"):
            pass

    asyncio.run(start_and_stop())


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(clawback, command):
    """`--help` everywhere, on stdout."""
    ran = clawback(*command, "--help")

    assert ran.returncode == 0
    assert ran.stdout.startswith(f"usage: {' '.join(['clawback', *command])}")
    assert not ran.stderr


def test_the_version_is_told(clawback):
    """For support."""
    told = clawback("--version").stdout

    assert re.fullmatch(rf"clawback {re.escape(__version__)}( \([0-9a-f]{{12}}\))?\n", told), told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Commands:"),
        (["flail"], "No such command 'flail'"),
        (["token"], "Commands:"),
        (["token", "revoke"], "Missing argument 'ID'"),
        (["serve", "--prot", "1"], "Did you mean one of: '--host', '--port'?"),
        (["trigger", "generic", "--secret-stdin", "--secret-file", "x"], "leave one out"),
        (["login", "--token-stdin", "--token", "x"], "leave one out"),
    ],
)
def test_a_wrong_call_is_code_2(clawback, arguments, message):
    """With what was expected, on stderr."""
    ran = clawback(*arguments)

    assert ran.returncode == 2
    assert message in ran.stderr
    assert not ran.stdout


@pytest.mark.parametrize("command", [["serve"], ["token", "create"], ["token", "list"], ["nats-env"]])
def test_a_wrong_setting_is_one_sentence_and_code_2(clawback, command):
    """No command starts with settings that it does not understand."""
    ran = clawback(*command, CLAWBACK_PORT="x")

    assert ran.returncode == 2
    assert ran.stderr == "clawback: port: read 'x' from CLAWBACK_PORT; accepted is a number from 1 to 65535\n"
    assert not ran.stdout


@pytest.mark.usefixtures("store")
def test_a_token_is_made_where_no_server_runs(clawback):
    """The token alone is on stdout, for a pipe; the profile is there from then on."""
    made = clawback("token", "create", "--label", "laptop")
    listed = clawback("token", "list")

    assert made.returncode == 0, made.stderr
    assert looks_like_token(made.stdout.removesuffix("\n"))
    assert not made.stderr
    assert re.search(r"^tok_[a-z2-7]{20}  [\d-]{10} [\d:]{5}  never +laptop$", listed.stdout, re.MULTILINE)
    assert made.stdout.strip() not in listed.stdout


@pytest.mark.usefixtures("store")
def test_scripts_read_json(clawback):
    """Ids and all; the webhook id is the profile's, however many tokens it has."""
    first = json.loads(clawback("token", "create", "--json", "--profile", "build").stdout)
    second = json.loads(clawback("token", "create", "--json", "--profile", "build", "--label", "two").stdout)
    listed = json.loads(clawback("token", "list", "--json", "--profile", "build").stdout)

    assert set(first) == {"token", "id", "profileId", "webhookId"}
    assert (first["profileId"], first["webhookId"]) == (second["profileId"], second["webhookId"])
    assert [(each["id"], each["label"], each["lastSeen"]) for each in listed] == [
        (first["id"], None, None),
        (second["id"], "two", None),
    ]


@pytest.mark.usefixtures("store")
def test_a_token_is_revoked_by_its_id(clawback):
    """Whatever profile it is of; a second time there is no such token."""
    made = json.loads(clawback("token", "create", "--json", "--profile", "build").stdout)
    revoked = clawback("token", "revoke", made["id"])
    again = clawback("token", "revoke", made["id"])

    assert revoked.returncode == 0
    assert json.loads(clawback("token", "list", "--json", "--profile", "build").stdout) == []
    assert again.returncode == 1
    assert again.stderr == f"clawback: there is no token {made['id']}; `clawback token list` shows the ids\n"


@pytest.mark.usefixtures("store")
def test_tokens_of_an_unknown_profile_name_the_known_ones(clawback):
    """A typing mistake in a name makes no profile when listing."""
    clawback("token", "create", "--profile", "build")
    ran = clawback("token", "list", "--profile", "biuld")

    assert ran.returncode == 1
    assert ran.stderr == "clawback: there is no profile biuld; there are: build\n"


@pytest.mark.parametrize(
    "arguments",
    [["token", "create", "--profile", " "], ["token", "create", "--label", "a\nb"]],
    ids=["profile", "label"],
)
def test_a_wrong_name_starts_nothing(clawback, tmp_path, arguments):
    """It is refused before any NATS is asked."""
    ran = clawback(*arguments)

    assert ran.returncode == 1
    assert ran.stderr.startswith("clawback: ")
    assert ran.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("there", "found"),
    [(None, "which is not there"), ([], "which is empty"), (["a", "master.key"], "which holds a, master.key")],
)
@pytest.mark.parametrize(
    "command",
    [["token", "create"], ["token", "list"], ["token", "revoke", "tok_a"], ["keys", "list"], ["keys", "rotate"],
     ["trigger", "github.ping"]],
    ids=" ".join,
)  # fmt: skip
def test_where_no_server_was_nothing_is_made(clawback, tmp_path, command, there, found):
    """An empty store would look like one, and its token would open nothing. It says where it looked."""
    data = tmp_path / "data"
    for name in there or []:
        data.mkdir(exist_ok=True)
        (data / name).touch()
    if there == []:
        data.mkdir()
    ran = clawback(*command)

    assert ran.returncode == 2
    assert f"no server keeps its data in {data}, {found}: name the directory of the server" in ran.stderr
    assert not ran.stdout
    assert (sorted(each.name for each in data.iterdir()) if data.exists() else None) == there


def test_tokens_go_through_a_given_nats(clawback, natsd, tmp_path):
    """With --nats-url nothing is started or written here."""
    login = {"CLAWBACK_NATS_USER": natsd.auth.user, "CLAWBACK_NATS_PASSWORD": natsd.auth.password}
    login = {name: value for name, value in login.items() if value is not None}
    ran = clawback("token", "create", "--nats-url", natsd.auth.url, **login)

    assert looks_like_token(ran.stdout.strip()), ran.stderr
    assert not (tmp_path / "data").exists()


def test_a_nats_that_is_not_there_is_named(clawback):
    """One sentence with the address, and no traceback."""
    ran = clawback("token", "list", "--nats-url", "nats://planted:planted@127.0.0.1:1")

    assert ran.returncode == 1
    assert ran.stderr.startswith("clawback: ")
    assert "127.0.0.1:1" in ran.stderr
    assert "planted" not in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.usefixtures("store")
def test_nats_env_is_a_shells_environment(clawback, tmp_path):
    """What the nats CLI reads, quoted so that `eval` takes it."""
    clawback("token", "create")
    ran = clawback("nats-env")
    shell = subprocess.run(
        ["sh", "-c", 'eval "$1"; printf "%s\\n" "$NATS_URL" "$NATS_USER" "$NATS_PASSWORD"', "sh", ran.stdout],
        capture_output=True,
        text=True,
        check=True,
    )
    saved = json.loads((tmp_path / "data/nats/credentials.json").read_text())

    assert shell.stdout.splitlines() == [f"nats://127.0.0.1:{saved['port']}", saved["user"], saved["password"]]
    assert json.loads(clawback("nats-env", "--json").stdout) == {
        "url": f"nats://127.0.0.1:{saved['port']}",
        "user": saved["user"],
        "password": saved["password"],
    }


def test_nats_env_unsets_what_the_server_does_not_have(clawback):
    """A password that is left over from another server would be sent to this one."""
    ran = clawback("nats-env", CLAWBACK_NATS_URL="nats://u:it's@a:4222")

    assert "export NATS_URL='nats://u:it'\"'\"'s@a:4222'\n" in ran.stdout
    assert "unset NATS_USER\nunset NATS_PASSWORD\n" in ran.stdout


def test_nats_env_before_the_first_start_says_so(clawback):
    """There is no login yet."""
    ran = clawback("nats-env")

    assert ran.returncode == 2
    assert "start `clawback serve` on this data directory first" in ran.stderr


@pytest.mark.usefixtures("store")
def test_a_made_token_is_saved_through_a_pipe(clawback, tmp_path):
    """`clawback token create | clawback login --token-stdin`: the token is on no command line."""
    made = clawback("token", "create")
    saved = clawback("login", "--token-stdin", "--server", "http://127.0.0.1:1", stdin=made.stdout)
    path = tmp_path / ".claude/channels/clawback/config.json"

    assert saved.returncode == 0, saved.stderr
    assert json.loads(path.read_text()) == {"remote": "ws://127.0.0.1:1/ws", "connectionToken": made.stdout.strip()}
    assert made.stdout.strip() not in saved.stderr + saved.stdout


@pytest.mark.usefixtures("store")
def test_a_token_on_the_command_line_is_warned_of(clawback):
    """It works, and says who can see it."""
    token = clawback("token", "create").stdout.strip()
    ran = clawback("login", "--token", token, "--server", "http://127.0.0.1:1")

    assert ran.returncode == 0
    assert ran.stderr.startswith("Warning: --token shows the token to everybody on this machine")


@pytest.mark.usefixtures("store")
def test_a_token_that_nobody_takes_is_revoked(clawback, tmp_path):
    """As where the command after the pipe is not there: a sentence, and no traceback; nothing is left that opens."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("CLAWBACK_")}
    env |= {"HOME": str(tmp_path), "CLAWBACK_DATA_DIR": str(tmp_path / "data")}
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(
        [sys.executable, "-m", "clawback", "token", "create"],
        env=env, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    os.close(writer)

    assert ran.returncode == 1
    assert ran.stderr.startswith("clawback: the command after the pipe did not take the token")
    assert ran.stderr.count("\n") == 1
    assert json.loads(clawback("token", "list", "--json").stdout) == []


def test_login_without_a_token_looks_for_the_server_first(clawback):
    """A browser is opened where there is a page to show; else the sentence says what to do."""
    ran = clawback("login", "--server", "http://127.0.0.1:1")

    assert ran.returncode == 1
    assert ran.stderr.startswith("clawback: http://127.0.0.1:1 cannot be reached")
    assert "is the server running? --server names another" in ran.stderr


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        ("", "the command before the pipe says why it printed none"),
        ("\n", "the command before the pipe says why it printed none"),
        ("nonsense\n", "`connectionToken` is no Clawback token"),
    ],
)
def test_login_refuses_what_is_no_token(clawback, tmp_path, stdin, message):
    """Nothing is sent and nothing is saved."""
    ran = clawback("login", "--token-stdin", stdin=stdin)

    assert ran.returncode == 2
    assert message in ran.stderr
    assert not (tmp_path / ".claude").exists()


def test_channel_loads_nothing_of_the_server():
    """Claude Code waits for it at every session's start: the command line adds nothing to what the channel needs."""
    script = (
        "import sys, clawback.channel.server as server\n"
        "server.main, before = lambda: None, set(sys.modules)\n"
        "import clawback.cli\n"
        "clawback.cli.main(['channel'])\n"
        "print(*(set(sys.modules) - before))\n"
        "print(*before)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    added, channel = (line.split() for line in ran.stdout.splitlines())

    assert sorted(added) == ["clawback.cli"]
    assert not {"nats", "litestar", "cryptography", "clawback.settings", "clawback.server.app"} & set(channel)


def every_command(command, path=()):
    """Walk the commands that do something."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        yield from every_command(command.get_command(context, name), (*path, name))


@pytest.mark.parametrize(("path", "command"), list(every_command(root.clawback)), ids=lambda each: str(each)[:40])
def test_every_command_has_an_example_that_it_takes(path, command):
    """What `--help` shows can be typed; what is for Claude Code has none."""
    examples = [shlex.split(line.partition(" > ")[0]) for line in command.example.splitlines()]

    assert bool(examples) == (path[0] not in {"channel", "hook", "monitor"})
    for words in examples:
        if words[1 : 1 + len(path)] == list(path):
            given = itertools.takewhile(lambda word: word not in ("|", "&&"), words[1 + len(path) :])
            command.make_context("clawback", list(given))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(clawback, shell):
    """It asks the program itself, by a variable that Click reads."""
    told = clawback("completion", shell)

    assert told.returncode == 0, told.stderr
    assert f"_CLAWBACK_COMPLETE={shell}_complete" in told.stdout


def test_commands_and_options_are_completed(clawback):
    """As bash asks for them, of commands at any depth."""
    noun = clawback(_CLAWBACK_COMPLETE="bash_complete", COMP_WORDS="clawback to", COMP_CWORD="1")
    option = clawback(_CLAWBACK_COMPLETE="bash_complete", COMP_WORDS="clawback token create --la", COMP_CWORD="3")

    assert noun.stdout == "plain,token\n"
    assert option.stdout == "plain,--label\n"


async def test_a_token_is_made_while_the_server_runs(clawback, tmp_path):
    """It goes to the NATS that runs on the data directory, which stays in use throughout."""
    async with EmbeddedNats(tmp_path / "data") as nats:
        made = await asyncio.to_thread(clawback, "token", "create")
        fabric = await Fabric.open(nats.auth, name="tests")
        found = await (await Registry.open(fabric)).find_token(token_hash(made.stdout.strip()))
        await fabric.close()

    assert found is not None, made.stderr
