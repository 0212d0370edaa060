"""
A canary run: what is secret is planted, used in every way there is, and then looked for where it must not be.

Looked through are the logs, what the commands and the plugin said, the answers to strangers, every file that was
written (NATS's own included), and what the process list shows. Where a secret belongs it has to be found, or the search
would prove nothing.
"""

import asyncio
import base64
import json
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

import senders
from browsing import Browser, hidden_fields
from channel.claude import Claude
from clawback.model import Scheme
from clawback.senders.presets import PRESETS
from collector import Collector, collecting
from legacy import LegacyClient
from processes import CLAWBACK, Server, Token, environment, processes_of
from senders import SENDERS

pytestmark = pytest.mark.timeout(180)

EACH = 2
"""Sources of each scheme whose secret is given; as many are made by the server where it may."""


def canary(scheme: Scheme) -> str:
    """Make a secret in the form of a scheme, that is found nowhere by chance."""
    if scheme is Scheme.STANDARD_WEBHOOKS:
        return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    return ("whsec_" if scheme is Scheme.STRIPE else "") + f"canary-{secrets.token_hex(12)}"


def spellings(planted: str) -> set[bytes]:
    """Write a secret in every way in which it could leak."""
    raw = planted.encode()
    ways = {raw, base64.b64encode(raw).rstrip(b"="), base64.urlsafe_b64encode(raw).rstrip(b"="), raw.hex().encode()}
    if planted.startswith("whsec_"):
        ways.add(planted.removeprefix("whsec_").encode())
    return ways


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Where traces are sent."""
    with collecting() as collector:
        yield collector


class Run:
    """What was planted, and what was said on the way."""

    def __init__(self, server: Server, home: Path) -> None:
        self.server = server
        self.home = home
        self.planted: dict[str, str] = {}
        self.said: dict[str, str] = {}
        self.processes: dict[str, bytes] = {}

    def plant(self, name: str, value: str) -> str:
        """Note a secret."""
        assert name not in self.planted
        self.planted[name] = value
        return value

    def command(self, *arguments: str, stdin: str = "", silent: bool = False, **extra: str) -> str:
        """Run a command to its end and keep what it said; `silent` where stdout is to show a secret."""
        ran = self.server.run(*arguments, stdin=stdin, **extra)
        kept = ran.stderr if silent else ran.stdout + ran.stderr
        self.said[f"command {len(self.said)}: {' '.join(arguments[:2])}"] = kept
        return ran.stdout

    def on_data(self, *arguments: str, silent: bool = False, **extra: str) -> str:
        """Run a command on the server's data."""
        return self.command(*arguments, "--data-dir", str(self.server.data_dir), silent=silent, **extra)

    def token(self, name: str, profile: str) -> Token:
        """Make a token, and note it."""
        fields = json.loads(self.on_data("token", "create", "--json", "--profile", profile, silent=True))
        self.plant(name, fields["token"])
        return Token(fields["token"], fields["id"], fields["profileId"], fields["webhookId"])

    def look_at_processes(self, name: str) -> None:
        """Note the command lines and environments of everything that runs under our homes."""
        for pid in {*processes_of(self.server.home), *processes_of(self.home)}:
            for kind in ("cmdline", "environ"):
                self.processes[f"{name}, {pid} {kind}"] = Path(f"/proc/{pid}/{kind}").read_bytes()

    def keep(self, name: str, answer: httpx.Response) -> None:
        """Note an answer; what a cookie is set to is that browser's own."""
        headers = [(field, value) for field, value in answer.headers.multi_items() if field != "set-cookie"]
        self.said[f"{name} {len(self.said)}"] = f"{answer.status_code} {headers} {answer.text}"

    def master_keys(self) -> None:
        """Note the master keys that stand in the file now."""
        for line in (self.server.data_dir / "master.key").read_text().split():
            if line not in self.planted.values():
                self.plant(f"master key {len(self.planted)}", line)

    def found(self) -> list[str]:
        """Look for everything that was planted, everywhere but where it belongs."""
        places = {name: text.encode() for name, text in self.said.items()} | self.processes
        places |= {f"file {path}": path.read_bytes() for path in self.files() if path not in self.homes_of_secrets()}
        return sorted(
            f"{name} is in {place}"
            for place, content in places.items()
            for name, value in self.planted.items()
            if any(way in content for way in spellings(value))
        )

    def files(self) -> list[Path]:
        """List every file under our homes."""
        return [path for home in (self.server.home, self.home) for path in home.rglob("*") if path.is_file()]

    def homes_of_secrets(self) -> set[Path]:
        """Name the files that are there to hold a secret; each is for its owner alone."""
        nats = self.server.data_dir / "nats"
        config = Path(environment(self.home)["CLAUDE_CONFIG_DIR"]) / "channels/clawback/config.json"
        given = {self.home / name for name in ("secret", "wrong.toml", "github-client-secret")}
        return {
            self.server.data_dir / "master.key",
            nats / "credentials.json",
            nats / "nats-server.conf",
            config,
            *given,
        }


async def test_no_planted_secret_is_anywhere_but_where_it_belongs(own_server, tmp_path, collector):
    """At least 50, of every kind, through every door; none in a log, a trace, an answer, a file, NATS or a process."""
    run = Run(own_server, tmp_path / "person")
    run.home.mkdir()
    github = run.home / "github-client-secret"
    github.write_text(run.plant("client secret at GitHub", f"canary-{secrets.token_hex(12)}"))
    github.chmod(0o600)
    settings = {"CLAWBACK_GITHUB_CLIENT_ID": "id", "CLAWBACK_GITHUB_CLIENT_SECRET_FILE": str(github)}
    settings |= collector.variables
    await asyncio.to_thread(own_server.start, **settings)
    run.master_keys()
    run.plant("password of NATS", json.loads((own_server.data_dir / "nats/credentials.json").read_text())["password"])
    tokens = [run.token(f"token {number}", f"profile-{number % 3}") for number in range(6)]
    urls = await use_protocol(run, tokens[0])
    await send_webhooks(run, urls)
    await knock(run, tokens)
    await use_pages(run, tokens[1])
    await use_rest(run, tokens[0])
    await use_plugin(run, tokens[2])
    await asyncio.to_thread(use_commands, run, tokens, urls)
    await asyncio.to_thread(own_server.kill9)
    await asyncio.to_thread(own_server.start, **settings)
    # A new one at each start.
    password = json.loads((own_server.data_dir / "nats/credentials.json").read_text())["password"]
    run.plant("next password of NATS", password)
    await send_webhooks(run, dict(list(urls.items())[::4]))
    run.look_at_processes("at the end")
    await asyncio.to_thread(own_server.stop)
    run.said["traces"] = collector.raw.decode("latin-1")

    assert len(run.planted) >= 50
    assert len(collector.spans) >= 50
    assert run.found() == []
    for path in run.homes_of_secrets():
        content = path.read_bytes()
        assert any(value.encode() in content for value in run.planted.values()), f"the search finds nothing in {path}"
        assert path.stat().st_mode & 0o077 == 0, path


async def use_protocol(run: Run, token: Token) -> dict[str, tuple[Scheme, str]]:
    """Make, change and spoil sources of every scheme over `/ws`; return their URLs with what signs for them now."""
    urls = {}
    async with LegacyClient(run.server.socket_url, token.value, "protocol") as client:
        for scheme in SENDERS:
            for number in range(EACH):
                name = f"{scheme}-{number}"
                first = run.plant(f"secret of {name}", canary(scheme))
                fields = {"slug": name, "verifierType": scheme, "routes": {"nothing": "/x"}}
                made = await client.request("source_create", **fields, secret=first)
                assert await client.refused("source_create", **fields, secret=first)
                second = run.plant(f"new secret of {name}", canary(scheme))
                answers = [
                    await client.ask("source_update", sourceId=made["id"], secret=second),
                    await client.ask("source_update", sourceId=made["id"], secret=second, overlapSeconds=-1),
                    await client.ask("source_update", sourceId=made["id"], secret=second, generateSecret=True),
                    await client.ask("source_update", sourceId="src_none", secret=second),
                    await client.ask("source_create", **fields | {"slug": "a b"}, secret=second),
                    await client.ask("source_create", slug="n", verifierType="none", secret=second),
                    await client.ask("source_create", slug="s", verifierType="stripe", secret=f"sk_{second}"),
                    await client.ask("source_create", slug="l", verifierType=scheme, secret=second + "x" * 5000),
                    await client.ask("source_create", slug="t", verifierType=scheme, secret={"a": second}),
                    await client.ask("source_create", slug=second, verifierType=second, secret=second),
                ]
                run.said[f"answers of {name}"] = json.dumps(answers[:-1])
                urls[made["url"]] = (scheme, second)
            if not PRESETS[scheme].shows_secret:
                made = await client.request(
                    "source_create", slug=f"{scheme}-made", verifierType=scheme, generateSecret=True
                )
                run.plant(f"made secret of {scheme}", made["secret"])
                again = await client.request("source_update", sourceId=made["id"], generateSecret=True)
                urls[made["url"]] = (scheme, run.plant(f"second made secret of {scheme}", again["secret"]))
        made = await client.request("token_create", label="made over the protocol")
        run.plant("token made over the protocol", made["token"])
        for kind in ("source_list", "token_list", "account_info", "event_history"):
            run.said[kind] = json.dumps(await client.request(kind))
    async with LegacyClient(run.server.socket_url, made["token"], "rotating") as client:
        run.plant("token after a rotation", (await client.request("token_rotate"))["token"])
        run.said["a replaced token"] = await client.refused("token_create")
    return urls


async def send_webhooks(run: Run, urls: dict[str, tuple[Scheme, str]]) -> None:
    """Send to each source what is right, what is forged, and what holds the secret where it does not belong."""
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        for url, (scheme, secret) in urls.items():
            now = datetime.now(UTC)
            body = senders.linear_body(now, action="x") if scheme is Scheme.LINEAR else b'{"type":"other"}'
            signed_as_token = scheme is Scheme.GITLAB and secret.startswith("whsec_")
            sign = senders.standard if signed_as_token else SENDERS[scheme]
            right = await http.post(url, content=body, headers=sign(body, secret.encode(), now))
            assert right.is_success, right.text
            forged = sign(
                body, (canary(scheme) if not signed_as_token else canary(Scheme.STANDARD_WEBHOOKS)).encode(), now
            )
            header = forged[-1][0]
            for answer in (
                right,
                await http.post(url, content=body, headers=forged),
                await http.post(url, content=body),
                await http.post(url, content=body, headers={header: secret + "x"}),
                await http.post(url, content=body, headers=[(header, secret), (header, secret)]),
                await http.post(url, content=body, headers={header: "t=1,v1=é".encode("latin-1") + secret.encode()}),
                await http.put(url, content=secret.encode(), headers={header: secret}),
                await http.post(url + "-none", content=secret.encode(), headers={header: secret}),
                await http.post(url + f"?secret={secret}", content=body),
            ):
                run.keep(f"webhook of {scheme}", answer)


async def knock(run: Run, tokens: list[Token]) -> None:
    """Come in with tokens in wrong forms and wrong places."""
    good = tokens[0].value
    for frame in (
        {"type": "auth", "token": good + "x"},
        {"type": "auth", "token": good[:-1]},
        {"type": "auth", "token": {"a": good}},
        {"type": "auth", "token": good, "sessionTag": "a b"},
        {"type": "auth", "token": good, "sessionTag": 5},
        {"type": good},
        {"type": "ack", "eventId": good},
        good,
    ):
        client = LegacyClient(run.server.socket_url, "")
        client._auth = frame
        with pytest.raises((ConnectionClosed, AssertionError)) as ended:
            await client.__aenter__()
        await client.socket.close()
        run.said[f"auth {len(run.said)}"] = str(ended.value)
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        for path in (
            "/healthz",
            "/readyz",
            "/metrics",
            "/schema/openapi.json",
            "/api/v1/account",
            f"/?token={good}",
            "/no",
        ):
            for header in (f"Bearer {good}", f"Bearer {good}x", good, f"Basic {good}"):
                run.keep(
                    path.partition("?")[0], await http.get(run.server.url + path, headers={"authorization": header})
                )


async def use_pages(run: Run, token: Token) -> None:
    """Log in on the pages with what is wrong and what is right, get a code for a command, and redeem it."""
    async with Browser(run.server.url) as browser:
        for value in (token.value + "x", token.value[:-1], token.value):
            fields = hidden_fields(await browser.get("/login"))
            run.keep("login", await browser.log_in(value, **fields))
        for number, value in enumerate(browser.cookies.values()):
            run.plant(f"cookie {number}", value)
        run.keep("home", await browser.get("/"))
        run.keep("GitHub", await browser.get("/auth/github"))
        page = await browser.send_form("/auth/cli", form_token=await browser.form_token(), token=token.value)
        code = run.plant("code of a command", page.text.partition("<code>echo ")[2].partition(" ")[0])
        assert len(code) >= 20, page.text
        redeemed = await browser.post("/auth/cli/exchange", json={"code": code})
        run.plant("token of a command", redeemed.json()["connectionToken"])
        for wrong in ({"code": code}, {"code": code + "x"}, {"code": [code]}, code):
            run.keep("exchange", await browser.post("/auth/cli/exchange", json=wrong))


async def use_rest(run: Run, token: Token) -> None:
    """Make and change sources and tokens over REST, rightly and wrongly."""
    authorization = {"authorization": f"Bearer {token.value}"}
    async with httpx.AsyncClient(
        base_url=f"{run.server.url}/api/v1", timeout=30, trust_env=False, headers=authorization
    ) as api:
        first, second = [run.plant(f"secret over REST {number}", canary(Scheme.GENERIC)) for number in "12"]
        fields = {"slug": "rest", "verifierType": "generic"}
        made = await api.post("/sources", json=fields | {"secret": first})
        path = f"/sources/{made.json()['id']}"
        run.keep("REST", made)
        for method, where, content in (
            ("POST", "/sources", fields | {"secret": first}),
            ("POST", "/sources", fields | {"secret": {"a": first}}),
            ("POST", "/sources", fields | {"priority": "high", "secret": first}),
            ("POST", f"/sources?secret={first}", {}),
            ("POST", "/sources", [first]),
            ("PATCH", path, {"secret": second}),
            ("PATCH", path, {"secret": second, "generateSecret": True}),
            ("PATCH", path, {"secret": second, "overlapSeconds": second}),
            ("PATCH", "/sources/src_none", {"secret": second}),
            ("GET", "/sources", None),
            ("GET", "/tokens", None),
        ):
            run.keep("REST", await api.request(method, where, json=content))
        run.plant("token over REST", (await api.post("/tokens", json={})).json()["token"])


async def use_plugin(run: Run, token: Token) -> None:
    """Have Claude do everything that has to do with secrets; what it is told is not what it may repeat."""
    run.command("login", "--token-stdin", "--server", run.server.url, stdin=token.value + "\n", **environment(run.home))
    config = Path(environment(run.home)["CLAUDE_CONFIG_DIR"]) / "channels/clawback/config.json"
    async with Claude(config, command=[str(CLAWBACK), "channel"], **environment(run.home)) as claude:
        secret, other = [run.plant(f"secret through the plugin {number}", canary(Scheme.GITHUB)) for number in "12"]
        made = json.loads((await claude.call("source_create", slug="p", type="github", secret=secret))[0])
        for tool, arguments in (
            ("source_create", {"slug": "p", "type": "github", "secret": secret}),
            ("source_create", {"slug": "q", "type": "stripe", "secret": secret}),
            ("source_create", {"slug": "q", "type": "github", "secret": [secret]}),
            ("source_create", {"slug": "q", "type": "github", "sekret": secret}),
            ("source_update", {"id": made["id"], "secret": other}),
            ("source_update", {"id": made["id"], "secret": other, "overlap_seconds": 0}),
            ("source_update", {"id": "src_none", "secret": other}),
            ("source_list", {}),
            ("token_rotate", {}),
            ("token_list", {}),
            ("account_info", {}),
        ):
            await claude.call(tool, **arguments)
        run.plant("token rotated by the plugin", json.loads(config.read_text())["connectionToken"])
        run.look_at_processes("with the plugin")
        run.said["plugin"] = b"".join(claude.lines).decode()
        run.said["plugin's stderr"] = claude.stderr


def use_commands(run: Run, tokens: list[Token], urls: dict[str, tuple[Scheme, str]]) -> None:
    """Run every command that has to do with secrets, rightly and wrongly."""
    server, home = run.server, environment(run.home)
    for number, arguments in enumerate((("list",), ("rotate",), ("list",))):
        run.on_data("keys", *arguments)
        run.master_keys()
        assert number < 2 or len((server.data_dir / "master.key").read_text().split()) == 2
    run.on_data("token", "list", "--profile", "profile-0")
    run.on_data("token", "revoke", tokens[3].id)
    wrong = run.plant("a wrong master key", base64.b64encode(os.urandom(31)).decode())
    foreign = run.plant("a foreign master key", base64.b64encode(os.urandom(32)).decode())
    password = run.plant("a wrong password of NATS", f"canary-{secrets.token_hex(12)}")
    config = run.home / "wrong.toml"
    config.write_text(f'nats_url = "nats://user:{password}@127.0.0.1:1"\nport = "none"\n')
    config.chmod(0o600)
    run.on_data("keys", "list", CLAWBACK_MASTER_KEY=wrong)
    run.on_data("keys", "list", CLAWBACK_MASTER_KEY=f"{foreign},{wrong}")
    run.on_data("keys", "list", CLAWBACK_MASTER_KEY=foreign)
    run.on_data("keys", "list", CLAWBACK_NATS_URL="nats://127.0.0.1:1", CLAWBACK_NATS_PASSWORD=password)
    run.on_data("keys", "list", CLAWBACK_NATS_URL=f"nats://u:{password}@127.0.0.1:1")
    run.command("serve", "--config", str(config))
    (url, (_, secret)) = next((url, each) for url, each in urls.items() if each[0] is Scheme.GITHUB)
    file = run.home / "secret"
    file.write_text(secret)
    file.chmod(0o600)
    for given in (("--secret-stdin",), ("--secret-file", str(file))):
        run.command("trigger", "github.ping", "--url", url, *given, stdin=secret + "\n")
        run.command("trigger", "github.ping", "--url", url + "-none", *given, stdin=secret + "\n")
    for value in (tokens[4].value + "x", tokens[3].value, f"{tokens[4].value} {tokens[5].value}"):
        run.command("login", "--token-stdin", "--server", server.url, stdin=value + "\n", **environment(server.home))
    run.command("doctor", **home)
    run.command("doctor", "--json", "--probe", **home)


def test_the_search_finds_what_it_looks_for(tmp_path, own_server):
    """In each of the spellings, in a file and in what was said."""
    run = Run(own_server, tmp_path)
    value = run.plant("a token", "whsec_" + "Q" * 20)
    for number, way in enumerate(sorted(spellings(value))):
        (tmp_path / f"file-{number}").write_bytes(b"before" + way + b"after")
    run.said["log"] = f"token={value}"

    assert len(run.found()) == len(spellings(value)) + 1
