"""nats-servers as `nats/` configures them, moved to loopback ports and directories of the test's own."""

import shutil
from pathlib import Path
from typing import Self

import httpx

from clawback.fabric.auth import NatsAuth
from natsd import Natsd, free_port

FILES = Path(__file__).parents[2] / "nats"
NODES = 3


class ConfiguredNats(Natsd):
    """
    A nats-server with a configuration of `nats/`. `moves` are the texts to replace in its files.

    Every text must be there: a file that says something else than the test moves would listen on everybody's ports.
    """

    def __init__(self, home: Path, config: str, *, moves: dict[str, str] | None = None, name: str = "") -> None:
        super().__init__(home)
        files = home / "nats"
        shutil.copytree(FILES, files)
        here = {"0.0.0.0:4222": f"127.0.0.1:{self.port}", "127.0.0.1:8222": f"127.0.0.1:{free_port()}"}
        _replace(files / config, here | (moves or {}))
        self.monitor_url = f"http://{here['127.0.0.1:8222']}"
        self._command[2:] = [str(files / config), "--store_dir", str(home / "data")]
        self._environment |= {"NATS_NAME": name}
        # Nobody comes in here without a login.
        self.auth = NatsAuth(self.auth.url, "ops", self._environment["NATS_OPS_PASSWORD"])


class NatsCluster:
    """
    Three nats-servers of `cluster.conf`, which stand for one where a test hands a nats-server on.

    They run inside `with`.
    """

    def __init__(self, home: Path) -> None:
        ports = [free_port() for _ in range(NODES)]
        routes = (FILES / "routes.conf.example").read_text().replace("PASSWORD", "p-routes")
        for number, port in enumerate(ports, start=1):
            assert f"@nats-{number}:6222" in routes, "the example names every node"
            routes = routes.replace(f"nats-{number}:6222", f"127.0.0.1:{port}")
        self.nodes: dict[str, ConfiguredNats] = {}
        for number, port in enumerate(ports, start=1):
            name = f"nats-{number}"
            moves = {"0.0.0.0:6222": f"127.0.0.1:{port}"}
            self.nodes[name] = ConfiguredNats(home / name, "cluster.conf", moves=moves, name=name)
            (home / name / "nats" / "routes.conf").write_text(routes)
        urls = ",".join(node.auth.url for node in self.nodes.values())
        one = self.nodes["nats-1"]
        self.auth = NatsAuth(urls, one.auth.user, one.auth.password)
        self.server_auth = NatsAuth(urls, one.server_auth.user, one.server_auth.password)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def launch(self) -> None:
        """Start all of them, and return at once."""
        for node in self.nodes.values():
            node.launch()

    def start(self) -> None:
        """Start all of them: none answers before it has seen another."""
        self.launch()
        for node in self.nodes.values():
            node.wait()

    def stop(self) -> None:
        """Stop those that run."""
        for node in self.nodes.values():
            node.stop()

    async def is_whole(self) -> bool:
        """Tell whether all nodes run, know each other, and have everything that the others have."""
        async with httpx.AsyncClient(trust_env=False) as http:
            for node in self.nodes.values():
                # 503 while one is behind: nats-server's own check of all its streams.
                if (await http.get(f"{node.monitor_url}/healthz")).status_code != httpx.codes.OK:
                    return False
            states = [(await http.get(f"{node.monitor_url}/jsz")).json() for node in self.nodes.values()]
        leaders = [each["meta_cluster"] for each in states if each["meta_cluster"].get("replicas")]
        return any(
            len(each["replicas"]) == NODES - 1 and all(peer["current"] for peer in each["replicas"]) for each in leaders
        )


def _replace(path: Path, moves: dict[str, str]) -> None:
    text = path.read_text()
    for old, new in moves.items():
        assert text.count(old) == 1, f"{path.name} says {old} once"
        text = text.replace(old, new)
    path.write_text(text)
