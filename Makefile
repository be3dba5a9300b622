# The habits of this repository. `make test` is what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two gigabytes more than the demo needs.
FRAMEWORKS := $(VENV)/.frameworks
TENSORFLOW := $(VENV)/.tensorflow
RAY := $(VENV)/.ray
FUZZ := $(VENV)/.fuzz
# Other implementations of gRPC and HTTP/2, from npm, Debian and, in an environment of its own, PyPI.
PEERS := tests/peers/js
KSERVE := $(VENV)/peers/kserve
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# The oldest mypy that is supported, beside the newest: tests run both.
OLDEST_MYPY := 1.15.0

# What is compared with runs in environments of its own, of pinned packages.
COMPARED := $(patsubst benchmarks/sidebyside/environments/%.txt,$(VENV)/bench/%/.ready,\
	$(wildcard benchmarks/sidebyside/environments/*.txt))

.PHONY: setup frameworks peers demo test test-tensorflow test-ray test-peers fuzz check stubs bench \
	bench-engines bench-peers bench-proxy bench-sidebyside format clean

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

peers: setup $(KSERVE)/.ready
	scripts/debian_peers.sh
	if command -v npm >/dev/null; then $(MAKE) $(PEERS)/node_modules; fi

$(PEERS)/node_modules: $(PEERS)/package-lock.json
	cd $(PEERS) && npm ci --ignore-scripts --no-audit --no-fund --silent
	touch $@

$(KSERVE)/.ready: tests/peers/kserve.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

demo: setup
	$(BIN)/python -m examples.demo
	$(BIN)/python -m examples.observability
	$(BIN)/python -m examples.tls

# What goes over the wire is tested on both kinds of HTTP/2, but for tests of other things.
ON_THE_WIRE := tests/integration tests/unit/blazerpc/server tests/unit/blazerpc/test_context.py \
	tests/unit/blazerpc/codegen/test_limits.py tests/unit/blazerpc/codegen/test_servicer.py \
	$(addprefix tests/unit/blazerpc_client/test_,broken_answers.py channel.py metadata.py response.py \
		sync_response.py verify.py)

OF_OTHER_THINGS := $(addprefix --ignore-glob=tests/integration/test_,client_gen.py deploy*.py docs*.py \
	frameworks.py reload.py typing.py)

test: check
	$(BIN)/python -m pytest -m 'not tensorflow and not ray and not peers'
	BLAZERPC_HTTP=h2 $(BIN)/python -m pytest -m 'not tensorflow and not ray and not peers' $(ON_THE_WIRE) \
		$(OF_OTHER_THINGS)

# Apart from the other tests, since TensorFlow is large: what a laptop can leave out, and CI does not.
test-tensorflow: $(TENSORFLOW)
	$(BIN)/python -m pytest -m tensorflow

# Likewise: a Ray of its own takes a gigabyte of memory.
test-ray: $(RAY)
	$(BIN)/python -m pytest -m ray

# Apart likewise: they take programs that pip does not install.
test-peers: peers
	$(BIN)/python -m pytest -m peers

$(FUZZ): $(READY)
	$(PIP) --editable '.[demo,dev,fuzz]'
	touch $(FUZZ)

# Seconds for each target; what it finds is written to .fuzz/.
FUZZ_TIME ?= 300

fuzz: $(FUZZ)
	mkdir -p .fuzz
	set -e; for target in $$($(BIN)/python -m tests.fuzz); do \
		mkdir -p .fuzz/$$target; \
		$(BIN)/python -m tests.fuzz $$target .fuzz/$$target -max_total_time=$(FUZZ_TIME) \
			-max_len=2000 -len_control=0 -timeout=20 -rss_limit_mb=1024 -artifact_prefix=.fuzz/ -verbosity=0; \
	done

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
	$(BIN)/python -m benchmarks.capacity $(BENCH_ARGS)
	$(BIN)/python -m benchmarks.sidebyside $(BENCH_ARGS)

bench-sidebyside: bench-peers
	$(BIN)/python -m benchmarks.sidebyside $(BENCH_ARGS)

bench-peers: setup $(COMPARED)

$(VENV)/bench/%/.ready: benchmarks/sidebyside/environments/%.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

# nginx, which Debian has, between a client and a server.
bench-proxy: setup
	$(BIN)/python -m benchmarks.proxy $(BENCH_ARGS)

# Ray Serve beside this process.
bench-engines: $(RAY)
	$(BIN)/python -m benchmarks.engines $(BENCH_ARGS)

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(PEERS)/node_modules .fuzz .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
