"""
A random mix of faults, one after the other and up to three at once: `make chaos MINUTES=60 SEED=…`.

A flow runs through a cable between the plugin and the server. The plugin, the server and NATS are killed and stopped,
the cable is cut, held one way and slowed down, and deliveries are sent again. What must hold stands in ledger.py. In
the first half neither server nor NATS is killed, so that what they keep too long would add up in their memory.

A second run has two servers and thirty sessions that move between them, while each server is cut off from NATS for 0.2
to 12 s, stopped, and killed. What must hold of it stands in bridge_ledger.py.

FAULT_SEED repeats what is drawn; what becomes of it hangs on the machine's timing too.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import pytest

from cable import WAYS, Cable
from clawback.fabric.streams import Fabric
from cluster import make_token
from conftest import SHARDS
from faults.bridge import Bridge
from faults.bridge_ledger import AckCalled, Given
from faults.bridge_ledger import Killed as BridgeKilled
from faults.bridge_ledger import violations as bridge_violations
from faults.extent import CHAOS_SECONDS
from faults.flow import PATIENCE_SECONDS, Flow
from faults.kills import KILLS
from faults.ledger import Accepted, Killed, Shown
from faults.moves import move_sessions
from natsd import Natsd
from processes import Server, frozen, resident_bytes
from waiting import eventually

pytestmark = pytest.mark.timeout(300 + 2 * CHAOS_SECONDS)

IS_SOAK = CHAOS_SECONDS > 300

CALM_SECONDS = 0.8
"""Each fault of a round comes at a random moment of this after the flow went on."""

BRIEF_SECONDS, LONG_SECONDS = 2.0, 90.0
"""How long something lasts at most. What lasts long outlives leases, and the patience of both ends of a WebSocket."""

LONG = 0.04 if IS_SOAK else 0.0
"""How often it does. In a short run never."""

CUTS = 6
"""How often the cable is cut in one go, at most."""

REPEATED, TIMES = 5, 10
"""Deliveries that are sent again in one go, at most, and how often each is."""

GROWTH, SPARE_BYTES = 1.5, 64 << 20
"""What a program may hold later: so many times what it held in the second fifth of the calm half, and so much."""


@dataclass
class Chaos:
    """What faults are done to, and what was seen of the memory of server and NATS."""

    flow: Flow
    server: Server
    cable: Cable
    rounds: int = 0
    held: list[tuple[int, int]] = field(default_factory=list)

    def note(self, what: str) -> None:
        """Write into the ledger what is done."""
        self.flow.entries.append(Killed(what))

    def weigh(self) -> None:
        """Note what the server and its NATS hold now; nothing while NATS is not there."""
        if (nats := self.server.nats_pid) is not None:
            self.held.append((resident_bytes(self.server.process.pid), resident_bytes(nats)))


Fault = Callable[[Chaos, random.Random], Awaitable[None]]


def while_it_lasts(dice: random.Random) -> Awaitable[None]:
    """Let the time pass that does the harm."""
    return asyncio.sleep(dice.uniform(0, LONG_SECONDS if dice.random() < LONG else BRIEF_SECONDS))


def kill(what: str) -> Fault:
    """Kill a part without a warning, and see it started again."""

    async def fault(chaos: Chaos, dice: random.Random) -> None:
        await KILLS[what](chaos.flow, chaos.server, dice)

    return fault


def stop(what: str) -> Fault:
    """Stop a part for a while, every connection open."""

    async def fault(chaos: Chaos, dice: random.Random) -> None:
        # After a kill in the round before it may not be back yet.
        await eventually(lambda: chaos.server.nats_pid is not None, PATIENCE_SECONDS)
        with chaos.flow.stopped(what):
            await while_it_lasts(dice)

    return fault


async def cut(chaos: Chaos, dice: random.Random) -> None:
    """Cut the cable, some times."""
    for _ in range(dice.randint(1, CUTS)):
        chaos.note("cable, cut")
        chaos.cable.cut()
        await asyncio.sleep(dice.uniform(0, BRIEF_SECONDS) if dice.random() < 0.5 else 0)
        chaos.cable.mend()
        await asyncio.sleep(dice.uniform(0, CALM_SECONDS))


async def kill_cut_off(chaos: Chaos, dice: random.Random) -> None:
    """Kill the plugin some time after it was cut off, when it may have acks that the server has never heard of."""
    chaos.note("cable, cut")
    chaos.cable.cut()
    await asyncio.sleep(dice.uniform(0, CALM_SECONDS))
    await chaos.flow.kill_plugin()
    chaos.cable.mend()
    await chaos.flow.start_plugin()


async def hold(chaos: Chaos, dice: random.Random) -> None:
    """Let nothing through the cable one way, or either way."""
    ways = dice.sample(WAYS, dice.randint(1, 2))
    chaos.note(f"cable, held {' and '.join(ways)}")
    chaos.cable.hold(*ways)
    await while_it_lasts(dice)
    chaos.note("cable, mended")
    chaos.cable.mend()


async def slow(chaos: Chaos, dice: random.Random) -> None:
    """Let the cable carry little, late."""
    chaos.note("cable, slow")
    chaos.cable.slow(dice.uniform(0.01, 0.2), dice.choice((700, 65536)))
    await while_it_lasts(dice)
    chaos.note("cable, mended")
    chaos.cable.mend()


async def repeat(chaos: Chaos, dice: random.Random) -> None:
    """Send deliveries of any age again, each several times at once."""
    accepted = sorted({entry.delivery for entry in chaos.flow.entries if isinstance(entry, Accepted)})
    chaos.note("deliveries sent again")
    await chaos.flow.repeat(dice.sample(accepted, min(REPEATED, len(accepted))), dice.randint(1, TIMES))


CALM: dict[str, list[Fault]] = {
    "server": [stop("server"), stop("nats")],
    "plugin": [kill("plugin"), kill_cut_off, stop("plugin")],
    "cable": [cut, hold, slow],
    "sender": [repeat],
}
"""What can go wrong in each place; at one time it is one thing in each."""

WILD = CALM | {"server": [*CALM["server"], kill("server"), kill("server"), kill("nats"), kill("nats")]}


async def in_a_moment(chaos: Chaos, dice: random.Random, fault: Fault) -> None:
    """Do a fault at a moment of its own, so that one finds the flow in the middle of another."""
    await asyncio.sleep(dice.uniform(0, CALM_SECONDS))
    await fault(chaos, dice)


async def go_wrong(chaos: Chaos, seed: str, places: dict[str, list[Fault]], seconds: float) -> None:
    """Do faults for so long, up to three at once, and see the flow go on after each round."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        chaos.rounds += 1
        # Of its own, so that what is drawn does not hang on the order in which those who draw come to it.
        dice = random.Random(f"{seed} {chaos.rounds}")  # noqa: S311 -- to be repeated, not to be secret
        where = dice.sample([*places], dice.choice((1, 2, 2, 3)))
        async with asyncio.TaskGroup() as group:
            for place in where:
                own = random.Random(dice.random())  # noqa: S311 -- as above
                group.create_task(in_a_moment(chaos, own, dice.choice(places[place])))
        await chaos.flow.progress()
        chaos.weigh()


async def test_a_random_mix_of_faults_loses_repeats_and_reorders_nothing(server, seed, dice, tmp_path):
    """After it the ledger holds no violation and no stream an event; server and NATS hold about what they held."""
    async with Cable(server.port) as cable, Flow(server, dice, tmp_path / "claude", cable.url) as flow:
        chaos = Chaos(flow, server, cable)
        await flow.progress()
        began = time.monotonic()
        await go_wrong(chaos, seed, CALM, CHAOS_SECONDS / 2)
        fifth = max(1, len(chaos.held) // 5)
        phases = {"at first": chaos.held[fifth - 1 : 2 * fifth], "in the middle": chaos.held[-fifth:]}
        await go_wrong(chaos, seed, WILD, CHAOS_SECONDS / 2)
        phases["at last"] = chaos.held[-fifth:]
        found = await flow.finish()
    weights = {when: [median(column) for column in zip(*held, strict=True)] for when, held in phases.items()}
    report(chaos, time.monotonic() - began, weights)

    assert found == []
    for when, held in weights.items():
        for name, first, now in zip(("server", "NATS"), weights["at first"], held, strict=True):
            assert now < GROWTH * first + SPARE_BYTES, f"{name} held {first} bytes at first, {now} {when}"


def report(chaos: Chaos, seconds: float, weights: dict[str, list[float]]) -> None:
    """Print the figures of a run."""
    flow = chaos.flow
    done = Counter(entry.what for entry in flow.entries if isinstance(entry, Killed))
    repeats = sum(entry.attempt > 1 for entry in flow.entries if isinstance(entry, Shown))
    print(f"{chaos.rounds} rounds in {seconds:.0f} s: {flow.acks} acks, {repeats} repeats")  # noqa: T201 -- asked for
    print("; ".join(f"{what}: {count}" for what, count in sorted(done.items())))  # noqa: T201 -- asked for
    for when, held in weights.items():
        server, nats = (each / 2**20 for each in held)
        print(f"memory {when}: server {server:.0f} MiB, NATS {nats:.0f} MiB")  # noqa: T201 -- asked for


# --- two servers, each with a cable of its own to their NATS ------------------------------------------------------

AWAY_SECONDS = (0.2, 12.0)
"""How long a server is cut off from NATS, or stopped: up to longer than its sessions are left to it."""

BRIEF = 0.6
"""How often that is under two seconds, which nobody may notice."""


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Natsd]:
    """A nats-server that syncs what it confirms, as a server's own does."""
    natsd = Natsd(tmp_path / "natsd", fsync=True)
    natsd.start()
    yield natsd
    natsd.stop()


async def lose_nats(bridge: Bridge, cable: Cable, dice: random.Random, seconds: float) -> None:
    """Cut one server off from NATS, or let nothing through one way or either way."""
    bridge.record(BridgeKilled("nats"))
    how = dice.choice(("cut", "cut", "hold", "slow"))
    if how == "cut":
        cable.cut()
    elif how == "hold":
        cable.hold(*dice.sample(WAYS, dice.randint(1, 2)))
    else:
        cable.slow(dice.uniform(0.02, 0.1))
    await asyncio.sleep(seconds)
    cable.mend()
    bridge.record(BridgeKilled("nats"))


async def freeze(bridge: Bridge, server: Server, seconds: float) -> None:
    """Stop one server for a while, every connection open."""
    bridge.record(BridgeKilled("nats"))
    with frozen(server.process.pid):
        await asyncio.sleep(seconds)
    bridge.record(BridgeKilled("nats"))


async def trouble(bridge: Bridge, cables: list[Cable], seconds: float) -> Counter[str]:
    """Cut servers off, stop them and kill them, one or both at a time, and see the bridge go on after each round."""
    dice, done = bridge.dice("faults"), Counter[str]()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        async with asyncio.TaskGroup() as group:
            for number in dice.sample((0, 1), dice.choice((1, 1, 2))):
                what = dice.choice(("nats", "nats", "freeze"))
                away = dice.uniform(AWAY_SECONDS[0], 2.0 if dice.random() < BRIEF else AWAY_SECONDS[1])
                done[what] += 1
                group.create_task(
                    lose_nats(bridge, cables[number], dice, away)
                    if what == "nats"
                    else freeze(bridge, bridge.servers[number], away)
                )
        if dice.random() < 0.2:
            server = dice.choice(bridge.servers)
            done["kill"] += 1
            await bridge.kill_server(server)
            await bridge.start_server(server)
        await bridge.progress()
    return done


async def test_two_servers_cut_off_and_stopped_give_nothing_that_another_holds(far, seed, tmp_path):
    """Sessions move between them; no event is given twice at once with one attempt, lost, or both acked and dead."""
    fabric = await Fabric.open(far.auth, name="tests")
    async with Cable(far.port) as one, Cable(far.port) as two:
        await fabric.keep_layout(SHARDS)
        tokens = [await make_token(fabric) for _ in range(2)]
        bridge = Bridge(far, tmp_path, tokens, seed)
        for server, cable in zip(bridge.servers, (one, two), strict=True):
            server.settings["CLAWBACK_NATS_URL"] = f"nats://127.0.0.1:{cable.port}"
        async with bridge:
            moving = asyncio.create_task(move_sessions(bridge), name="moves")
            await bridge.progress()
            done = await trouble(bridge, [one, two], CHAOS_SECONDS)
            assert not moving.done(), moving.result()
            moving.cancel()
            await asyncio.wait([moving])
            try:
                await bridge.finish(fabric)
            finally:
                found = bridge_violations(bridge.moments)
                print(bridge.story(found))  # noqa: T201 -- pytest shows it on failure
    await fabric.close()
    given = [at.entry for at in bridge.moments if isinstance(at.entry, Given)]
    acks = sum(isinstance(at.entry, AckCalled) for at in bridge.moments)
    repeats = sum(entry.attempt > 1 for entry in given)
    print(f"{dict(done)} in {bridge.moments[-1].seconds:.0f} s: {acks} acks, {repeats} repeats")  # noqa: T201 -- asked for

    assert found == []
