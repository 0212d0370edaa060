# Everything a developer runs. A fresh machine needs Python >= 3.11, make and git, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test pythons lint types bench faults mutants chaos fuzz claude browser lock clean

run: $(VENV)/.ready
	@exec $(BIN)/clawback serve $(ARGS)

# Most of a test's time is waiting, for a disk or a process, so two cores take four at once.
test: lint types
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

# Compiles, imports and serves with every Python >= 3.11 of this machine.
pythons:
	$(PYTHON) tests/pythons.py

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready-dev
	$(BIN)/mypy

bench: $(VENV)/.ready-dev
	$(BIN)/python -m bench $(ARGS)

faults: $(VENV)/.ready-dev
	FAULT_ROUNDS=20 $(BIN)/pytest tests/faults $(ARGS)

# Changes one pure file in small ways, and names what its tests did not notice.
mutants: $(VENV)/.ready-dev
	$(BIN)/python tests/mutants.py $(FILE) $(TESTS)

# A random mix of faults for so long. SEED repeats what an earlier run drew: each prints its own.
MINUTES ?= 60

chaos: $(VENV)/.ready-dev
	CHAOS_MINUTES=$(MINUTES) FAULT_SEED=$(SEED) $(BIN)/pytest tests/faults/test_chaos.py -s $(ARGS)

# schemathesis over the API. Its packages are kept apart: they would bring a plug-in into every run of pytest.
FUZZ := .venv-fuzz

fuzz: $(VENV)/.ready-dev $(FUZZ)/.ready
	PYTHONPATH=tests:tests/support $(BIN)/python tests/api/fuzz.py $(ARGS)

# With the real Claude Code, offline: needs its npm package and tmux, and says so.
CLAUDE_PROGRAM ?= $(shell command -v claude)

claude: $(VENV)/.ready-dev
	CLAUDE_PROGRAM="$(CLAUDE_PROGRAM)" $(BIN)/pytest tests/claude $(ARGS)

browser: $(VENV)/.ready-dev
	@command -v "$${CHROMIUM:-chromium}" >/dev/null || { echo "The browser tests need Chromium: install Debian's package chromium, or name the program: make browser CHROMIUM=/path/to/chromium"; exit 1; }
	$(BIN)/pytest tests/browser $(ARGS)

# Pins every dependency with its hashes; names no index, so any mirror serves.
lock: $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(COMPILE) --extra traces -o requirements.lock
	$(COMPILE_ONLY) --group build -o requirements-build.lock
	$(COMPILE) --extra traces --group build --group dev -c requirements.lock -c requirements-build.lock -o requirements-dev.lock
	$(COMPILE_ONLY) requirements-fuzz.in -o requirements-fuzz.lock

COMPILE_ONLY := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
	--python-version 3.11
COMPILE := $(COMPILE_ONLY) pyproject.toml

clean:
	rm -rf $(VENV) $(FUZZ) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(f"Clawback needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. Try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)

PIP := $(BIN)/pip install --quiet --disable-pip-version-check

# --no-build-isolation: the build backend is pinned in the lock like everything else.
$(VENV)/.ready: requirements.lock requirements-build.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --require-hashes -r requirements-build.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.ready-dev: requirements-dev.lock $(VENV)/.ready
	$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

$(FUZZ)/.ready: requirements-fuzz.lock
	$(PYTHON) -m venv $(FUZZ)
	$(FUZZ)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-fuzz.lock
	@touch $@
