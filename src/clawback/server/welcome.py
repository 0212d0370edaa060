"""What `clawback serve` tells a person once it is ready: the next two commands, ready to paste. Pure."""

import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from clawback.settings import ServerSettings

_DEFAULTS = ServerSettings()

CONTAINER_FILES = ("/.dockerenv", "/run/.containerenv")
"""Docker makes the one in each of its containers, Podman the other."""


def find_container(
    environment: Mapping[str, str], exists: Callable[[str], bool], host_name: str, process_ids: tuple[int, int]
) -> str | None:
    """
    Write the start of a command that runs another one in this container, from outside.

    `process_ids` are ours and our parent's. None outside of a container, and in one that somebody works in: there the
    server was started by hand, not as the container's own program (process 1, or the child of a small init).
    """
    if 1 not in process_ids:
        return None
    name = shlex.quote(host_name)
    if environment.get("KUBERNETES_SERVICE_HOST"):
        return f"kubectl exec {name} --"
    docker, podman = map(exists, CONTAINER_FILES)
    if podman or environment.get("container") == "podman":
        return f"podman exec {name}"
    return f"docker exec {name}" if docker else None


def next_steps(settings: ServerSettings, program: Path, *, first_start: bool, container: str | None = None) -> str:
    """
    Write what to do next; `program` is the absolute path of this very `clawback`, `container` see `find_container`.

    The token goes through a pipe: it is on no screen, in no process list and in no shell history.
    """
    inside = shlex.quote(str(program))
    # Outside of a container, this program is not there.
    here = inside if container is None else "clawback"
    make = f"{inside} token create{_where(settings)}"
    if container is not None:
        make = f"{container} {make}"
    url = shlex.quote(settings.public_url)
    if container is None:
        place = f"{'Next' if first_start else 'If this machine is not set up yet'}, in another terminal:"
        elsewhere = ""
    else:
        place = "It runs in a container. Next, outside of it, on the machine that runs Claude Code:"
        elsewhere = f"""
Without a `clawback` there, open {settings.public_url}/auth/cli and paste the command that it shows.
If {settings.public_url} does not lead here from there, set CLAWBACK_PUBLIC_URL to the address that does.
"""
    return f"""\
Clawback is ready at {settings.public_url}

{place}

  1. save the plugin's config (makes a token that is shown nowhere):
     {make} | {here} login --token-stdin --server {url}

  2. put the plugin into Claude Code, and start a session with it:
     {here} install
     claude --dangerously-load-development-channels plugin:clawback@clawback
{elsewhere}
Ctrl-C stops the server{"" if settings.nats_url else " and its NATS"}; what comes in stays stored."""


def _where(settings: ServerSettings) -> str:
    """Write the flags that lead to the same NATS; whatever is secret is left to the variables it was read from."""
    if settings.nats_url is not None:
        # All up to the last @, as the log does it. The last of several servers is left, which is enough.
        url = re.sub(r"^(\w+://).*@", r"\1", settings.nats_url)
        return f" --nats-url {shlex.quote(url)}"
    return "" if settings.data_dir == _DEFAULTS.data_dir else f" --data-dir {shlex.quote(str(settings.data_dir))}"
