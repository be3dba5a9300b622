# The habits of this repository. `make test` is what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# The oldest mypy that is supported, beside the newest: tests run both.
OLDEST_MYPY := 1.15.0

.PHONY: setup demo test check stubs bench format clean

setup: $(READY)

$(READY): pyproject.toml Makefile
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo,dev]'
	rm -rf $(VENV)/oldest-mypy
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $(VENV)/oldest-mypy mypy==$(OLDEST_MYPY)
	touch $(READY)

demo: setup
	$(BIN)/python -m examples.demo

test: check
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m scripts.stubs --check

stubs: setup
	$(BIN)/python -m scripts.stubs

bench: setup
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-max-time=0.5
	$(BIN)/python -m benchmarks.echo $(BENCH_ARGS)
	$(BIN)/python -m benchmarks.batching $(BENCH_ARGS)
	$(BIN)/python -m benchmarks.workers $(BENCH_ARGS)

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
