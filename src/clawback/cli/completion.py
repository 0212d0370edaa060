"""`clawback completion`: what a shell needs to complete our commands."""

import click
from click.shell_completion import get_completion_class

from clawback.cli.base import command

SHELLS = ("bash", "zsh", "fish")


@command(
    "completion",
    help="Print what makes a shell complete the commands and options of clawback.",
    example="clawback completion bash > ~/.local/share/bash-completion/completions/clawback\n"
    "clawback completion zsh > ~/.zfunc/_clawback\n"
    "clawback completion fish > ~/.config/fish/completions/clawback.fish",
)
@click.argument("shell", type=click.Choice(SHELLS), metavar="|".join(SHELLS))
def completion(*, shell: str) -> int:
    """Print the script that Click has for it."""
    from clawback.cli.root import COMPLETE_VARIABLE, clawback

    found = get_completion_class(shell)
    assert found is not None, "Click knows these three"
    # Its template, without the start of a bash to ask its version.
    of_shell = found(clawback, {}, "clawback", COMPLETE_VARIABLE)
    print(of_shell.source_template % of_shell.source_vars())
    return 0
