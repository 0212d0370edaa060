"""What happens to the sessions of a bridge: they are killed and cut off, leave, come back, and take over."""

import asyncio

from faults.bridge import AWAY_SECONDS, Bridge

MOVE_SECONDS = 0.12
"""Between two things that happen to sessions, on average."""

MOVES = {"take_over": 4, "kill": 2, "cut": 3, "leave": 1}


async def move_sessions(bridge: Bridge) -> None:
    """Do things to sessions, for ever."""
    dice = bridge.dice("moves")
    while True:
        pause, place = dice.expovariate(1 / MOVE_SECONDS), dice.choice([*bridge.places])
        how, away = dice.choices([*MOVES], [*MOVES.values()])[0], dice.uniform(0, AWAY_SECONDS)
        await asyncio.sleep(pause)
        bridge.check()
        bridge.move(place, how, away)
