"""`clawback export` and `clawback apply`: sources and crons as one file."""

from pathlib import Path
from typing import Any

import click

from clawback.cli import EXIT_FAILED
from clawback.cli.asking import confirm, keep_secret, server, yes_option
from clawback.cli.base import as_json as json_option
from clawback.cli.base import command, print_json, say
from clawback.errors import ConfigError, Rejected


@command(
    "export",
    help="Print sources and crons as a file for `clawback apply`. Secrets are not in it.",
    example="clawback export > clawback.yaml",
)
@json_option
def export(*, as_json: bool) -> int:
    """Print the file."""
    from clawback.commands.config_file import write_config_file

    with server() as rest:
        content = rest.get("/config")
    if as_json:
        print_json(content)
    else:
        click.echo(write_config_file(content), nl=False)
    return 0


@command(
    "apply",
    help="Make sources and crons what a file says, after showing what changes. What is so already is not touched.",
    example="clawback apply clawback.yaml --dry-run",
)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("--prune", is_flag=True, help="Delete what the file does not name, of the kinds that it has.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of the file, for editors, and do nothing.")
@click.option(
    "--secret-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="FOLDER",
    help="Write each secret that is made to a new file there, mode 0600, named like its source.",
)
@yes_option
@json_option
def apply(
    *, file: Path | None, dry_run: bool, prune: bool, schema: bool, secret_dir: Path | None, yes: bool, as_json: bool
) -> int:
    """Show the plan, and carry it out."""
    from clawback.commands.config_file import build_schema, read_config_file

    if schema:
        print_json(build_schema())
        return 0
    if file is None:
        raise ConfigError("apply needs a FILE, such as clawback.yaml; `clawback export > clawback.yaml` writes one")
    read = read_config_file(file)
    with server() as rest:
        try:
            plan = rest.put("/config", read.content, dryRun="true", prune=str(prune).lower())
            if not as_json:
                _show(plan)
            if dry_run or not plan["changes"]:
                if as_json:
                    print_json(plan)
                return 0
            removed = sum(change["action"] == "delete" for change in plan["changes"])
            if removed and not confirm(f"Delete {removed} of these?", yes=yes):
                return EXIT_FAILED
            done = rest.put("/config", read.content, prune=str(prune).lower())
        except Rejected as error:
            raise Rejected(read.blame(str(error))) from None
    _finish(done, secret_dir, as_json=as_json)
    return 0


def _finish(done: dict[str, Any], secret_dir: Path | None, *, as_json: bool) -> None:
    """Print what was done, and the secrets that were made: once, here or in their files."""
    secrets = done.pop("secrets")
    if secret_dir is not None:
        for slug, secret in secrets.items():
            keep_secret(secret_dir / slug, secret)
        secrets = {}
    if as_json:
        print_json(done | {"secrets": secrets})
        return
    for slug, secret in secrets.items():
        click.echo(f"Secret of {slug}  {secret}  (shown this once)")
    say(f"Done: {len(done['changes'])} changed, {done['unchanged']} as they were.")


SIGNS = {"create": ("+", "green"), "update": ("~", "yellow"), "delete": ("-", "red")}


def _show(plan: dict[str, Any]) -> None:
    """Print a plan as a diff."""
    from clawback.cli.show import show, text
    from clawback.model import encode_json

    for change in plan["changes"]:
        sign, style = SIGNS[change["action"]]
        show(text(f"{sign} {change['kind']} {change['name']}", style))
        for name, field in change["fields"].items():
            before, after = (encode_json(field[each]).decode() for each in ("from", "to"))
            show(text(f"    {name}: {after}" if change["action"] == "create" else f"    {name}: {before} -> {after}"))
    show(text(f"= {plan['unchanged']} as they are"))
