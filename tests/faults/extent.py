"""How much is asked of the fault tests: FAULT_ROUNDS, which `make faults` sets to more than `make test` has."""

import os

FEW = 5
ROUNDS = int(os.environ.get("FAULT_ROUNDS", FEW))
IS_LONG = ROUNDS > FEW
