"""`clawback serve` and `clawback nats-env`: the server, and the login of its NATS."""

from clawback.cli.base import announce, as_json, command, load_settings, print_json, program, takes_settings, want_unix


@command("serve", help="Run the server, until Ctrl-C.", example="clawback serve --port 9000")
@takes_settings("host", "port", "data_dir", "public_url", "nats_url")
def serve(*, flags: dict[str, str]) -> int:
    """Run the server in this process."""
    want_unix("serve")
    import asyncio

    import uvloop

    from clawback.server.app import serve as run_server
    from clawback.telemetry import logs

    settings = load_settings(flags)
    logs.configure()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_server(settings, program=program(), announce=announce))
    return 0


@command(
    "nats-env",
    help="Print the server's NATS login for the nats CLI, as shell commands.",
    example='eval "$(clawback nats-env)" && nats stream list',
)
@takes_settings("data_dir", "nats_url")
@as_json
def nats_env(*, flags: dict[str, str], as_json: bool) -> int:
    """Print what the nats CLI reads."""
    import shlex

    from clawback.commands.admin import nats_auth

    auth = nats_auth(load_settings(flags))
    if as_json:
        print_json({"url": auth.url, "user": auth.user, "password": auth.password})
        return 0
    print('# For the nats CLI: eval "$(clawback nats-env)"')
    print("# This is the password to everything the server keeps: show it to nobody, keep it out of logs.")
    for name, value in (("NATS_URL", auth.url), ("NATS_USER", auth.user), ("NATS_PASSWORD", auth.password)):
        # Unset and not just left out: a value of another server would be sent to this one.
        print(f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}")
    return 0
