"""`login`, `install` and `doctor`: what a person does once on a machine, and when something is wrong."""

import click

from clawback.cli import EXIT_FAILED
from clawback.cli.base import announce, as_json, command, print_json, program, read_line, say
from clawback.errors import ConfigError


@command(
    "login",
    help="Log in with the browser or a token, and save it for Claude Code's plugin.",
    example="clawback login --server https://clawback.example.com",
)
@click.option(
    "--server", metavar="URL", help="(default: the server that the config names; without one, this machine's)"
)
@click.option("--token-stdin", is_flag=True, help="Read the token from standard input.")
@click.option("--token", metavar="TOKEN", help="The token; everybody on this machine can see it here.")
def login(*, server: str | None, token_stdin: bool, token: str | None) -> int:
    """Check a token with its server, and save both."""
    import asyncio

    from clawback.commands.login import choose_server, log_in

    if token_stdin and token is not None:
        raise ConfigError("--token-stdin and --token: a token comes in one of these ways; leave one out")
    if token is not None:
        say("Warning: --token shows the token to everybody on this machine (ps) and in the shell's history;"
             " --token-stdin does not.")  # fmt: skip
    elif token_stdin:
        token = read_line("Token: ")
        if not token:
            raise ConfigError(
                "no token came on standard input, and nothing was saved: the command before the pipe says why it"
                " printed none"
            )
    else:
        from clawback.commands.browser_login import fetch_config, open_in_browser

        server, _ = choose_server(server)
        config = asyncio.run(fetch_config(server, say, open_in_browser))
        server, token = config.remote, config.connection_token
    say(asyncio.run(log_in(server, token)))
    return 0


@command(
    "install",
    help="Put the plugin into Claude Code, and say what was changed.",
    example="clawback install --dry-run",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be changed.")
def install(*, dry_run: bool) -> int:
    """Have Claude Code install the plugin."""
    from clawback.commands.install import install as put_in

    put_in(program(), announce, dry_run=dry_run)
    return 0


@command(
    "doctor",
    help="Check everything between a webhook and Claude, and say what to do.",
    example="clawback doctor --probe",
)
@click.option("--probe", is_flag=True, help="Also send an event of its own through the whole way.")
@as_json
def doctor(*, probe: bool, as_json: bool) -> int:
    """Print a line for each finding."""
    import asyncio

    from clawback.commands.doctor import examine, failed, write_report

    findings = asyncio.run(examine(with_probe=probe))
    if as_json:
        print_json(findings)
    else:
        print(write_report(findings))
    return EXIT_FAILED if failed(findings) else 0
