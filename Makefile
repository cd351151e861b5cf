# Everything here works in a fresh clone with Python 3.11 and nothing else of ours.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --constraint constraints.txt
EPISODES ?= 40
STEPS ?= 6000

.DEFAULT_GOAL := help
.PHONY: help run test check bench coverage coverage-safety mutation safety wheel-smoke clean

help:  ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.installed-learn  ## The base in the field, learning live, then what it learnt; report in out/.
	$(BIN)/trimtab trial --field field --episodes $(EPISODES) --steps $(STEPS)

check: $(VENV)/.installed-dev  ## Lint, types and import floors; no tests.
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check  ## Install everything, then lint, types, floors and all tests: what CI runs.
	$(BIN)/python -m pytest

bench: $(VENV)/.installed-dev  ## Measure the tick and real time on this machine.
	$(BIN)/python -m tests.benchmarks.bench

coverage: $(VENV)/.installed-dev  ## Tests with branch coverage.
	$(BIN)/python -m pytest --cov --cov-report=term

# what decides about motion, and the fast tests that judge it
SAFETY_CORE := runtime.envelope runtime.modes runtime.faults runtime.fault_tracker \
	runtime.fallback runtime.monitors runtime.plausibility runtime.authority \
	runtime.residual_watch runtime.robot_wire
SAFETY_TESTS := $(addprefix tests/runtime/test_,envelope*.py outside_start.py modes.py faults.py \
	fault_tracker.py fallback.py monitors.py plausibility.py authority.py residual_watch*.py robot_wire.py)

coverage-safety: $(VENV)/.installed-dev  ## Branch coverage of what decides about motion: all of it.
	$(BIN)/python -m pytest -q $(addprefix --cov=,$(SAFETY_CORE)) --cov-branch --cov-report=term \
		--cov-fail-under=100 $(wildcard $(SAFETY_TESTS))

mutation: $(VENV)/.installed-dev  ## Change the safety core a thousand times; tests must notice.
	$(BIN)/python -m tests.mutation.run

safety: $(VENV)/.installed-run  ## Write SAFETY.md from the fault table.
	$(BIN)/trimtab faults --safety > SAFETY.md

wheel-smoke: $(VENV)/.installed-dev  ## Build the wheel, install it alone and without torch, run, replay, report.
	PYTHON=$(PYTHON) BUILD_PYTHON=$(BIN)/python .ci/wheel_smoke

clean:  ## Remove what make and the tests made, out/ and records included.
	rm -rf $(VENV) out dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# stamps are newer than what they were installed from, so that nothing is installed twice
$(VENV)/.installed-run: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-learn: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[learn]'
	@touch $@ $(VENV)/.installed-run

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[learn,dev]'
	@touch $@ $(VENV)/.installed-run $(VENV)/.installed-learn
