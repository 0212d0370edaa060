"""What `clawback serve` tells a person once it is ready: the next two commands, ready to paste. Pure."""

import re
import shlex
from pathlib import Path

from clawback.settings import ServerSettings

_DEFAULTS = ServerSettings()


def next_steps(settings: ServerSettings, program: Path, *, first_start: bool) -> str:
    """
    Write what to do next; `program` is the absolute path of this very `clawback`.

    The token goes through a pipe: it is on no screen, in no process list and in no shell history.
    """
    run = shlex.quote(str(program))
    where = _where(settings)
    url = settings.public_url
    server = "" if url == _DEFAULTS.public_url else f" --server {shlex.quote(url)}"
    return f"""\
Clawback is ready at {url}

{"Next" if first_start else "If this machine is not set up yet"}, in another terminal:

  1. save the plugin's config (makes a token that is shown nowhere):
     {run} token create{where} | {run} login --token-stdin{server}

  2. add the plugin to Claude Code, and start a session with it:
     claude mcp add --scope user clawback -- {run} channel
     claude --dangerously-load-development-channels server:clawback

Ctrl-C stops the server{"" if settings.nats_url else " and its NATS"}; what comes in stays stored."""


def _where(settings: ServerSettings) -> str:
    """Write the flags that lead to the same NATS; whatever is secret is left to the variables it was read from."""
    if settings.nats_url is not None:
        # All up to the last @, as the log does it. The last of several servers is left, which is enough.
        url = re.sub(r"^(\w+://).*@", r"\1", settings.nats_url)
        return f" --nats-url {shlex.quote(url)}"
    return "" if settings.data_dir == _DEFAULTS.data_dir else f" --data-dir {shlex.quote(str(settings.data_dir))}"
