"""`clawback trigger`: a signed sample, as a sender would send it."""

from pathlib import Path

import click

from clawback.cli.base import as_json as json_option
from clawback.cli.base import command, load_settings, print_json, read_line, takes_settings
from clawback.errors import ConfigError

FILE = click.Path(path_type=Path)


@command(
    "trigger",
    help="Send a signed sample to a webhook source, as its service would.",
    example="clawback trigger github.pull_request.opened --source demo",
)
@click.argument("sample", required=False)
@click.option("--list", "listing", is_flag=True, help="Name the samples.")
@click.option("--source", metavar="SLUG", help="Which source (default: the only one of the sample's type).")
@click.option("--profile", default="default", help="Whose source (default: default).")
@click.option("--url", help="A source of any server, by its URL; needs its secret.")
@click.option("--secret-stdin", is_flag=True, help="Read the secret from standard input.")
@click.option("--secret-file", type=FILE, metavar="FILE", help="Read the secret from a file that is yours alone.")
@click.option("--body", type=FILE, metavar="FILE", help="Send this instead of the sample, byte for byte.")
@click.option("--event", metavar="TYPE", help="The event type for the header, where the type has one.")
@json_option
@takes_settings("data_dir", "nats_url", "public_url")
def trigger(
    *,
    sample: str | None,
    listing: bool,
    source: str | None,
    profile: str,
    url: str | None,
    secret_stdin: bool,
    secret_file: Path | None,
    body: Path | None,
    event: str | None,
    as_json: bool,
    flags: dict[str, str],
) -> int:
    """Send one request, and print what the server answered."""
    import asyncio

    from clawback.commands.samples import list_samples
    from clawback.commands.trigger import choose_shot, describe, given_target, own_target, shoot

    if listing:
        print("\n".join(list_samples()))
        return 0
    if sample is None:
        raise ConfigError("trigger needs the name of a sample, such as github.pull_request.opened; --list names them")
    if secret_stdin and secret_file is not None:
        raise ConfigError("--secret-stdin and --secret-file: a secret comes in one of these ways; leave one out")
    shot = choose_shot(sample, body, event)
    if url is None:
        if secret_stdin or secret_file:
            raise ConfigError("a secret is for --url; a source of this machine's server is signed with its own")
        target = asyncio.run(own_target(load_settings(flags), profile, source, shot.scheme))
    else:
        secret = read_line("Secret: ") if secret_stdin else None
        target = given_target(url, source, secret, secret_file, shot.scheme)
    answer = asyncio.run(shoot(target, shot))
    if as_json:
        print_json(answer)
    else:
        print(describe(answer))
    return 0
