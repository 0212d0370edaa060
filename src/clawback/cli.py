"""
The command line: one program, a command for each thing a person does.

Imports are late: Claude Code starts `clawback channel` with every session and waits for it, so each command loads what
it needs and nothing else.

Exit codes: 0 done, 1 could not be done, 2 called or configured wrongly, 130 interrupted.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clawback.build import describe
from clawback.errors import ClawbackError, ConfigError, Unavailable

if TYPE_CHECKING:
    from clawback.settings import ServerSettings

EXIT_FAILED = 1
EXIT_WRONG = 2
EXIT_INTERRUPTED = 130

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; an error is one sentence on stderr."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        # The one command whose start counts does not wait for the others' parsers.
        if list(arguments) == ["channel"]:
            return _channel(argparse.Namespace())
        parsed = _build_parser().parse_args(arguments)
        command: Command = parsed.command
        return command(parsed)
    except ConfigError as error:
        return _fail(error, EXIT_WRONG)
    except ClawbackError as error:
        return _fail(error, EXIT_FAILED)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _fail(error: ClawbackError, code: int) -> int:
    print(f"clawback: {error}", file=sys.stderr)
    return code


# --- the commands -------------------------------------------------------------------------------------------------


def _serve(arguments: argparse.Namespace) -> int:
    _want_unix("serve")
    import asyncio

    import uvloop

    from clawback.server.app import serve
    from clawback.telemetry import logs

    settings = _load_settings(arguments)
    logs.configure()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, program=_program(), announce=_announce))
    return 0


def _want_unix(command: str) -> None:
    """
    Say at once that a command does not run here: those that keep other processes need what only Unix has.

    Raises:
        ConfigError: this is Windows, or as poor.
    """
    try:
        import fcntl  # noqa: F401 -- asked for, not used
        import resource  # noqa: F401 -- the same
    except ImportError:
        raise ConfigError(
            f"`clawback {command}` wants Linux or macOS; on Windows run it in WSL or in a container. The plugin and the"
            " other commands (login, install, doctor, tail, trigger) run here"
        ) from None


def _program() -> Path:
    """Find this very program, to print commands that can be pasted anywhere."""
    return Path(sys.argv[0]).absolute()


def _announce(text: str) -> None:
    print(text, flush=True)


def _channel(_arguments: argparse.Namespace) -> int:
    from clawback.channel.server import main as run_channel

    run_channel()
    return 0


def _hook(arguments: argparse.Namespace) -> int:
    from clawback.channel.claude import hook

    return hook.main(arguments.name)


def _monitor(_arguments: argparse.Namespace) -> int:
    from clawback.channel.claude import monitor

    return monitor.main()


def _token_create(arguments: argparse.Namespace) -> int:
    import asyncio

    from clawback.commands.admin import create_token, revoke_token

    profile, made = asyncio.run(create_token(_load_settings(arguments), arguments.profile, arguments.label))
    if arguments.json:
        _print_json(
            {
                "token": made.value,
                "id": made.record.id,
                "profileId": profile.id,
                "webhookId": profile.webhook_id,
            }
        )
        return 0
    try:
        print(made.value, flush=True)
    except BrokenPipeError:
        _leave_stdout()
        asyncio.run(revoke_token(_load_settings(arguments), made.record.id))
        raise Unavailable(
            "the command after the pipe did not take the token, and says why; the token was revoked, run both again"
        ) from None
    # The token alone goes to stdout, so that it can be piped; on a screen, say what it is.
    if sys.stdout.isatty():
        _say("It is shown this once; `clawback login --token-stdin` saves it for Claude Code.")
    return 0


def _token_list(arguments: argparse.Namespace) -> int:
    import asyncio

    from clawback.commands.admin import list_tokens

    tokens = asyncio.run(list_tokens(_load_settings(arguments), arguments.profile))
    if arguments.json:
        _print_json(
            [
                {"id": record.id, "label": record.label, "lastSeen": seen, "createdAt": record.created_at}
                for record, seen in tokens
            ]
        )
        return 0
    if not tokens:
        _say(f"The profile {arguments.profile} has no tokens. Make one: clawback token create")
        return 0
    form = "{:<26}{:<18}{:<18}{}"
    print(form.format("ID", "CREATED (UTC)", "LAST SEEN (UTC)", "LABEL").rstrip())
    for record, seen in tokens:
        last_seen = f"{seen:%Y-%m-%d %H:%M}" if seen is not None else "never"
        print(form.format(record.id, f"{record.created_at:%Y-%m-%d %H:%M}", last_seen, record.label or "").rstrip())
    return 0


def _token_revoke(arguments: argparse.Namespace) -> int:
    import asyncio

    from clawback.commands.admin import revoke_token

    asyncio.run(revoke_token(_load_settings(arguments), arguments.id))
    _say(f"Revoked {arguments.id}; what it had opened is closed.")
    return 0


def _keys_list(arguments: argparse.Namespace) -> int:
    import asyncio

    from clawback.commands.keys import list_keys

    keys = asyncio.run(list_keys(_load_settings(arguments)))
    if arguments.json:
        _print_json(keys)
        return 0
    form = "{:<12}{:<10}{}"
    print(form.format("KEY", "SECRETS", "STATE"))
    for key in keys:
        state = "seals and opens" if key.seals else "opens" if key.here else "missing"
        print(form.format(key.id, key.secrets, state))
    return 0


def _keys_rotate(arguments: argparse.Namespace) -> int:
    import asyncio

    from clawback.commands.keys import rotate_keys

    rotation = asyncio.run(rotate_keys(_load_settings(arguments)))
    new = "The new key" if rotation.made else "Key"
    _say(f"{new} {rotation.current} seals now; {rotation.resealed.secrets} secrets were sealed anew with it.")
    if rotation.made:
        _say("Keep a copy of master.key apart from the backups of NATS, as before: the old copy does not open the new.")
    for key in rotation.idle:
        _say(f"Key {key} opens nothing any more: clawback keys remove {key}")
    if rotation.resealed.unopened:
        _say(f"These sources have secrets that do not open, and stay disabled: {', '.join(rotation.resealed.unopened)}")
        return EXIT_FAILED
    return 0


def _keys_remove(arguments: argparse.Namespace) -> int:
    import asyncio

    from clawback.commands.keys import remove_key

    _say(asyncio.run(remove_key(_load_settings(arguments), arguments.id, lost=arguments.lost)))
    return 0


def _login(arguments: argparse.Namespace) -> int:
    import asyncio

    from clawback.commands.login import choose_server, log_in

    if arguments.token is not None:
        _say("Warning: --token shows the token to everybody on this machine (ps) and in the shell's history;"
             " --token-stdin does not.")  # fmt: skip
        token = arguments.token
    elif arguments.token_stdin:
        token = _read_line("Token: ")
        if not token:
            raise ConfigError(
                "no token came on standard input, and nothing was saved: the command before the pipe says why it"
                " printed none"
            )
    else:
        from clawback.commands.browser_login import fetch_config, open_in_browser

        server, _ = choose_server(arguments.server)
        config = asyncio.run(fetch_config(server, _say, open_in_browser))
        _say(asyncio.run(log_in(config.remote, config.connection_token)))
        return 0
    _say(asyncio.run(log_in(arguments.server, token)))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    import asyncio

    from clawback.commands.doctor import examine, failed, write_report

    findings = asyncio.run(examine(with_probe=arguments.probe))
    if arguments.json:
        _print_json(findings)
    else:
        print(write_report(findings))
    return EXIT_FAILED if failed(findings) else 0


def _install(arguments: argparse.Namespace) -> int:
    from clawback.commands.install import install

    install(_program(), _announce, dry_run=arguments.dry_run)
    return 0


def _work(arguments: argparse.Namespace) -> int:
    _want_unix("work")
    import asyncio
    import os

    from clawback.commands.log import configure_log
    from clawback.commands.work import work

    configure_log()
    tag = arguments.tag if arguments.tag is not None else os.environ.get("CLAWBACK_SESSION")
    # argparse leaves the dashes in front of what it does not read.
    words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    return asyncio.run(work(tag, words, arguments.timeout))


def _tail(arguments: argparse.Namespace) -> int:
    import asyncio
    import os

    from clawback.commands.log import configure_log
    from clawback.commands.tail import tail

    configure_log()
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    try:
        asyncio.run(tail(arguments.tag, as_json=arguments.json, colour=colour, write=_announce))
    except BrokenPipeError:
        # Whoever read it has enough, as after `| head`.
        _leave_stdout()
    return 0


def _trigger(arguments: argparse.Namespace) -> int:
    import asyncio

    from clawback.commands.samples import list_samples
    from clawback.commands.trigger import choose_shot, describe, given_target, own_target, shoot

    if arguments.list:
        print("\n".join(list_samples()))
        return 0
    if arguments.sample is None:
        raise ConfigError("trigger needs the name of a sample, such as github.pull_request.opened; --list names them")
    shot = choose_shot(arguments.sample, arguments.body, arguments.event)
    if arguments.url is None:
        if arguments.secret_stdin or arguments.secret_file:
            raise ConfigError("a secret is for --url; a source of this machine's server is signed with its own")
        settings = _load_settings(arguments)
        target = asyncio.run(own_target(settings, arguments.profile, arguments.source, shot.scheme))
    else:
        secret = _read_line("Secret: ") if arguments.secret_stdin else None
        target = given_target(arguments.url, arguments.source, secret, arguments.secret_file, shot.scheme)
    answer = asyncio.run(shoot(target, shot))
    if arguments.json:
        _print_json(answer)
    else:
        print(describe(answer))
    return 0


def _nats_env(arguments: argparse.Namespace) -> int:
    import shlex

    from clawback.commands.admin import nats_auth

    auth = nats_auth(_load_settings(arguments))
    if arguments.json:
        _print_json({"url": auth.url, "user": auth.user, "password": auth.password})
        return 0
    print('# For the nats CLI: eval "$(clawback nats-env)"')
    print("# This is the password to everything the server keeps: show it to nobody, keep it out of logs.")
    for name, value in (("NATS_URL", auth.url), ("NATS_USER", auth.user), ("NATS_PASSWORD", auth.password)):
        # Unset and not just left out: a value of another server would be sent to this one.
        print(f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}")
    return 0


# --- their parsers ------------------------------------------------------------------------------------------------


def _build_parser() -> argparse.ArgumentParser:
    from clawback.settings import SETTINGS

    parser = argparse.ArgumentParser(
        prog="clawback",
        description="Every event reaches the right Claude Code session, one at a time, acknowledged.",
    )
    parser.add_argument("--version", action="version", version=f"clawback {describe()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    add, add_settings = _add, _add_settings

    serve = add(commands, "serve", _serve, "Run the server, until Ctrl-C.")
    add_settings(serve, *(setting.name for setting in SETTINGS if setting.flag))

    token = commands.add_parser("token", help="Make, list and revoke tokens.", description="Make, list, revoke tokens.")
    token_commands = token.add_subparsers(title="commands", metavar="COMMAND", required=True)
    create = add(token_commands, "create", _token_create, "Make a token; it is printed once.")
    create.add_argument("--profile", default="default", help="whose it is; made if new (default: default)")
    create.add_argument("--label", help="what you call it, to tell it from others")
    tokens = add(token_commands, "list", _token_list, "List the tokens of a profile, without their values.")
    tokens.add_argument("--profile", default="default", help="whose (default: default)")
    revoke = add(token_commands, "revoke", _token_revoke, "Revoke a token; what it opened is closed at once.")
    revoke.add_argument("id", metavar="ID", help="the token's id, from `clawback token list`")
    for each in (create, tokens, revoke):
        add_settings(each, "data_dir", "nats_url")
    for each in (create, tokens):
        each.add_argument("--json", action="store_true", help="print JSON")

    keys = commands.add_parser(
        "keys", help="List, rotate and remove master keys.", description="List, rotate and remove master keys."
    )
    key_commands = keys.add_subparsers(title="commands", metavar="COMMAND", required=True)
    key_list = add(key_commands, "list", _keys_list, "List the master keys, and how many secrets each has sealed.")
    key_list.add_argument("--json", action="store_true", help="print JSON")
    rotate = add(key_commands, "rotate", _keys_rotate, "Seal every secret with a new master key, while servers run.")
    remove = add(key_commands, "remove", _keys_remove, "Remove a master key that opens nothing any more.")
    remove.add_argument("id", metavar="ID", help="the key's id, from `clawback keys list`")
    remove.add_argument("--lost", action="store_true", help="it is lost: what it sealed will never open again")
    for each in (key_list, rotate, remove):
        add_settings(each, "data_dir", "nats_url")

    login = add(commands, "login", _login, "Log in with the browser or a token, and save it for Claude Code's plugin.")
    login.add_argument(
        "--server", metavar="URL", help="(default: the server that the config names; without one, this machine's)"
    )
    given = login.add_mutually_exclusive_group()
    given.add_argument("--token-stdin", action="store_true", help="read the token from standard input")
    given.add_argument("--token", metavar="TOKEN", help="the token; everybody on this machine can see it here")

    install = add(commands, "install", _install, "Put the plugin into Claude Code, and say what was changed.")
    install.add_argument("--dry-run", action="store_true", help="only say what would be changed")

    add(commands, "channel", _channel, "The MCP server that Claude Code starts; not for people.")

    hook = add(commands, "hook", _hook, "What the plugin's hooks run; not for people.")
    hook.add_argument("name", metavar="NAME", help="the hook's name, such as Stop; what it is told comes on stdin")
    add(commands, "monitor", _monitor, "What the plugin's monitor runs; not for people.")

    doctor = add(commands, "doctor", _doctor, "Check everything between a webhook and Claude, and say what to do.")
    doctor.add_argument("--probe", action="store_true", help="also send an event of its own through the whole way")
    doctor.add_argument("--json", action="store_true", help="print JSON")

    _add_work(commands)

    follow = add(commands, "tail", _tail, "Show what happens to the events of a profile, as it happens, until Ctrl-C.")
    follow.add_argument("--tag", help="only events and sessions of this tag; (untagged) for those without")
    follow.add_argument("--json", action="store_true", help="print JSON, one object a line")

    _add_trigger(commands)

    nats_env = add(
        commands, "nats-env", _nats_env, "Print the server's NATS login for the nats CLI, as shell commands."
    )
    add_settings(nats_env, "data_dir", "nats_url")
    nats_env.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add_work(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    work = _add(commands, "work", _work, "Run a command for each event of a tag, one at a time, until Ctrl-C.")
    work.add_argument("--tag", help="whose events (default: CLAWBACK_SESSION, else those without a tag)")
    work.add_argument("--timeout", type=int, default=1800, metavar="SECONDS", help="for one run (default: 1800)")
    work.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="the program and its arguments; no shell"
    )


def _add_trigger(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    trigger = _add(commands, "trigger", _trigger, "Send a signed sample to a webhook source, as its service would.")
    trigger.add_argument("sample", metavar="SAMPLE", nargs="?", help="such as github.pull_request.opened, or generic")
    trigger.add_argument("--list", action="store_true", help="name the samples")
    trigger.add_argument("--source", metavar="SLUG", help="which source (default: the only one of the sample's type)")
    trigger.add_argument("--profile", default="default", help="whose source (default: default)")
    trigger.add_argument("--url", help="a source of any server, by its URL; needs its secret")
    given = trigger.add_mutually_exclusive_group()
    given.add_argument("--secret-stdin", action="store_true", help="read the secret from standard input")
    given.add_argument(
        "--secret-file", type=Path, metavar="FILE", help="read the secret from a file that is yours alone"
    )
    trigger.add_argument("--body", type=Path, metavar="FILE", help="send this instead of the sample, byte for byte")
    trigger.add_argument("--event", metavar="TYPE", help="the event type for the header, where the type has one")
    trigger.add_argument("--json", action="store_true", help="print the server's answer")
    _add_settings(trigger, "data_dir", "nats_url", "public_url")


def _add(
    group: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, command: Command, summary: str
) -> argparse.ArgumentParser:
    added = group.add_parser(name, help=summary, description=summary)
    added.set_defaults(command=command)
    return added


def _add_settings(added: argparse.ArgumentParser, *names: str) -> None:
    from clawback.settings import CONFIG_FILE_NAME, SETTINGS

    for setting in SETTINGS:
        if setting.name in names:
            flag = "--" + setting.name.replace("_", "-")
            added.add_argument(flag, metavar=setting.name.upper(), help=setting.help)
    added.add_argument(
        "--config", metavar="FILE", help=f"settings as TOML (default: {CONFIG_FILE_NAME} in the data directory)"
    )


def _load_settings(arguments: argparse.Namespace) -> "ServerSettings":
    import os

    from clawback.settings import load_settings

    flags = {name: value for name, value in vars(arguments).items() if isinstance(value, str)}
    return load_settings(flags, os.environ)


def _read_line(prompt: str) -> str:
    """Read a token or secret from stdin, without an echo where a person types it."""
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass(prompt).strip()
    return sys.stdin.readline().strip()


def _print_json(value: object) -> None:
    from clawback.model import encode_json

    print(encode_json(value).decode())


def _leave_stdout() -> None:
    """Forget a pipe that nobody reads: Python would complain once more when it flushes at its end."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(text: str) -> None:
    """Tell the person; stdout is for what a script reads."""
    print(text, file=sys.stderr)
