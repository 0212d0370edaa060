"""`clawback token`: tokens, made and revoked on the server's machine."""

import sys

import click

from clawback.cli.base import Group, as_json, leave_stdout, load_settings, print_json, say, takes_settings
from clawback.errors import Unavailable

token = Group("token", help="Make, list and revoke tokens.")


@token.command(
    "create",
    help="Make a token; it is printed once.",
    example="clawback token create --label laptop | clawback login --token-stdin",
)
@click.option("--profile", default="default", help="Whose it is; made if new (default: default).")
@click.option("--label", help="What you call it, to tell it from others.")
@takes_settings("data_dir", "nats_url")
@as_json
def create(*, profile: str, label: str | None, flags: dict[str, str], as_json: bool) -> int:
    """Print a new token, alone on stdout."""
    import asyncio

    from clawback.commands.admin import create_token, revoke_token

    settings = load_settings(flags)
    owner, made = asyncio.run(create_token(settings, profile, label))
    if as_json:
        print_json({
            "token": made.value,
            "id": made.record.id,
            "profileId": owner.id,
            "webhookId": owner.webhook_id,
        })  # fmt: skip
        return 0
    try:
        print(made.value, flush=True)
    except BrokenPipeError:
        leave_stdout()
        asyncio.run(revoke_token(settings, made.record.id))
        raise Unavailable(
            "the command after the pipe did not take the token, and says why; the token was revoked, run both again"
        ) from None
    # The token alone goes to stdout, so that it can be piped; on a screen, say what it is.
    if sys.stdout.isatty():
        say("It is shown this once; `clawback login --token-stdin` saves it for Claude Code.")
    return 0


@token.command(
    "list", help="List the tokens of a profile, without their values.", example="clawback token list --profile build"
)
@click.option("--profile", default="default", help="Whose (default: default).")
@takes_settings("data_dir", "nats_url")
@as_json
def list_all(*, profile: str, flags: dict[str, str], as_json: bool) -> int:
    """Print a line for each token."""
    import asyncio

    from clawback.commands.admin import list_tokens

    tokens = asyncio.run(list_tokens(load_settings(flags), profile))
    if as_json:
        print_json(
            [
                {"id": record.id, "label": record.label, "lastSeen": seen, "createdAt": record.created_at}
                for record, seen in tokens
            ]
        )
        return 0
    if not tokens:
        say(f"The profile {profile} has no tokens. Make one: clawback token create")
        return 0
    form = "{:<26}{:<18}{:<18}{}"
    print(form.format("ID", "CREATED (UTC)", "LAST SEEN (UTC)", "LABEL").rstrip())
    for record, seen in tokens:
        last_seen = f"{seen:%Y-%m-%d %H:%M}" if seen is not None else "never"
        print(form.format(record.id, f"{record.created_at:%Y-%m-%d %H:%M}", last_seen, record.label or "").rstrip())
    return 0


@token.command(
    "revoke",
    help="Revoke a token by its ID, from `clawback token list`; what it opened is closed at once.",
    example="clawback token revoke tok_x3jv6r2k7nsa5xweq4bd",
)
@click.argument("token_id", metavar="ID")
@takes_settings("data_dir", "nats_url")
def revoke(*, token_id: str, flags: dict[str, str]) -> int:
    """Revoke one token."""
    import asyncio

    from clawback.commands.admin import revoke_token

    asyncio.run(revoke_token(load_settings(flags), token_id))
    say(f"Revoked {token_id}; what it had opened is closed.")
    return 0
