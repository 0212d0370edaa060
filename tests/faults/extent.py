"""
How much is asked of the fault tests: FAULT_ROUNDS, which `make faults` sets to more than `make test` has.

CHAOS_MINUTES says how long the random mix of faults goes on, which `make chaos` sets.
"""

import os

FEW = 5
ROUNDS = int(os.environ.get("FAULT_ROUNDS", FEW))
IS_LONG = ROUNDS > FEW

CHAOS_SECONDS = 60 * float(os.environ.get("CHAOS_MINUTES", "2" if IS_LONG else "0.15"))
