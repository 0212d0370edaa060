"""`clawback keys`: the master keys of this machine's server."""

import click

from clawback.cli import EXIT_FAILED
from clawback.cli.base import Group, as_json, load_settings, print_json, say, takes_settings

keys = Group("keys", help="List, rotate and remove master keys.")


@keys.command(
    "list", help="List the master keys, and how many secrets each has sealed.", example="clawback keys list --json"
)
@takes_settings("data_dir", "nats_url")
@as_json
def list_all(*, flags: dict[str, str], as_json: bool) -> int:
    """Print a line for each key."""
    import asyncio

    from clawback.commands.keys import list_keys

    found = asyncio.run(list_keys(load_settings(flags)))
    if as_json:
        print_json(found)
        return 0
    form = "{:<12}{:<10}{}"
    print(form.format("KEY", "SECRETS", "STATE"))
    for key in found:
        state = "seals and opens" if key.seals else "opens" if key.here else "missing"
        print(form.format(key.id, key.secrets, state))
    return 0


@keys.command(
    "rotate", help="Seal every secret with a new master key, while servers run.", example="clawback keys rotate"
)
@takes_settings("data_dir", "nats_url")
def rotate(*, flags: dict[str, str]) -> int:
    """Make a key, and seal with it."""
    import asyncio

    from clawback.commands.keys import rotate_keys

    rotation = asyncio.run(rotate_keys(load_settings(flags)))
    new = "The new key" if rotation.made else "Key"
    say(f"{new} {rotation.current} seals now; {rotation.resealed.secrets} secrets were sealed anew with it.")
    if rotation.made:
        say("Keep a copy of master.key apart from the backups of NATS, as before: the old copy does not open the new.")
    for key in rotation.idle:
        say(f"Key {key} opens nothing any more: clawback keys remove {key}")
    if rotation.resealed.unopened:
        say(f"These sources have secrets that do not open, and stay disabled: {', '.join(rotation.resealed.unopened)}")
        return EXIT_FAILED
    return 0


@keys.command(
    "remove",
    help="Remove a master key that opens nothing any more, by its ID from `clawback keys list`.",
    example="clawback keys remove 3f9a1c20",
)
@click.argument("key_id", metavar="ID")
@click.option("--lost", is_flag=True, help="It is lost: what it sealed will never open again.")
@takes_settings("data_dir", "nats_url")
def remove(*, key_id: str, lost: bool, flags: dict[str, str]) -> int:
    """Remove one key."""
    import asyncio

    from clawback.commands.keys import remove_key

    say(asyncio.run(remove_key(load_settings(flags), key_id, lost=lost)))
    return 0
