# The habits of this repository. `make test` is what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two gigabytes more than the demo needs.
FRAMEWORKS := $(VENV)/.frameworks
TENSORFLOW := $(VENV)/.tensorflow
RAY := $(VENV)/.ray
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# The oldest mypy that is supported, beside the newest: tests run both.
OLDEST_MYPY := 1.15.0

.PHONY: setup frameworks demo test test-tensorflow test-ray check stubs bench format clean

setup: $(READY)

$(READY): pyproject.toml Makefile
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) --editable '.[demo,dev]'
	rm -rf $(VENV)/oldest-mypy
	$(PIP) --target $(VENV)/oldest-mypy mypy==$(OLDEST_MYPY)
	touch $(READY)

frameworks: $(FRAMEWORKS)

$(FRAMEWORKS): $(READY)
	$(PIP) --editable '.[demo,dev,frameworks]'
	touch $(FRAMEWORKS)

$(TENSORFLOW): $(FRAMEWORKS)
	$(PIP) --editable '.[demo,dev,frameworks,tensorflow]'
	touch $(TENSORFLOW)

$(RAY): $(FRAMEWORKS)
	$(PIP) --editable '.[demo,dev,frameworks,ray]'
	touch $(RAY)

demo: setup
	$(BIN)/python -m examples.demo
	$(BIN)/python -m examples.observability

# What goes over the wire is tested on both kinds of HTTP/2.
ON_THE_WIRE := tests/integration tests/unit/blazerpc/server tests/unit/blazerpc/test_context.py \
	tests/unit/blazerpc/codegen/test_limits.py tests/unit/blazerpc/codegen/test_servicer.py \
	$(addprefix tests/unit/blazerpc_client/test_,channel.py response.py verify.py)

test: check
	$(BIN)/python -m pytest -m 'not tensorflow and not ray'
	BLAZERPC_HTTP=h2 $(BIN)/python -m pytest -m 'not tensorflow and not ray' $(ON_THE_WIRE)

# Apart from the other tests, since TensorFlow is large: what a laptop can leave out, and CI does not.
test-tensorflow: $(TENSORFLOW)
	$(BIN)/python -m pytest -m tensorflow

# Likewise: a Ray of its own takes a gigabyte of memory.
test-ray: $(RAY)
	$(BIN)/python -m pytest -m ray

check: frameworks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m scripts.stubs --check

stubs: frameworks
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
