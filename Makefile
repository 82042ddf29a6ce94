# Commands of this project. `make` alone lists them. Everything sets itself up when needed.
PYTHON ?= python3
PY := .venv/bin/python
.DEFAULT_GOAL := help

# Stamp: newer than everything the installed package is built from.
READY := .venv/.ready
NATIVE := $(shell find rust -name tests -prune -o \( -name '*.rs' -o -name Cargo.toml \) -print 2>/dev/null)

PINS := $(wildcard constraints/*)

$(READY): pyproject.toml Cargo.toml Cargo.lock scripts/setup.sh scripts/pins.sh scripts/system_deps.sh $(PINS) $(NATIVE)
	@PYTHON=$(PYTHON) scripts/setup.sh
	@touch $@

# The same for what the studies and the training need (torch: several GB, kept out of `make demo`).
OFFLINE := .venv/.ready-offline

$(OFFLINE): $(READY) scripts/setup_offline.sh
	@scripts/setup_offline.sh
	@touch $@

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(READY) ## Virtual environment, system packages, extension (done by the others too)

.PHONY: setup-offline
setup-offline: $(OFFLINE) ## The same, with torch and what the studies need (several GB)

.PHONY: recordings
recordings: $(OFFLINE) ## Real speech and music out of Debian's packages, into data/recordings/
	@$(PY) scripts/recordings.py

.PHONY: demo
demo: $(READY) ## 20 s of a clip through the four processors, moved by OSC; sound, picture, latencies in demo/
	@$(PY) -m cspace.realtime.demo

.PHONY: test
test: test-rust test-python ## All tests but the heavy ones

# The bindings are left out: an extension module is linked by its host, Python, which tests it below.
.PHONY: test-rust
test-rust: ## Rust tests only
	cargo test --workspace --exclude cspace-python

.PHONY: test-python
test-python: $(OFFLINE) ## Python tests only; ARGS='-k name' to choose
	$(PY) -m pytest $(ARGS)

.PHONY: test-heavy
test-heavy: $(OFFLINE) ## The tests that take minutes or much of the machine
	$(PY) -m pytest -m heavy $(ARGS)

.PHONY: test-versions
test-versions: $(OFFLINE) ## All Python tests with the newest and with the lowest allowed packages; ARGS=lowest for one
	scripts/test_versions.sh $(ARGS)

.PHONY: test-kernels
test-kernels: $(OFFLINE) ## The numerical tests under three BLAS kernels, each with one thread and with two
	scripts/kernels.sh $(ARGS)

.PHONY: lint
lint: $(OFFLINE) ## Format, clippy, ruff, mypy, and the .pyi against the built module
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(PY) -m mypy.stubtest cspace._native --allowlist scripts/stubtest_allow.txt

.PHONY: format
format: $(READY) ## Formats Rust and Python
	cargo fmt --all
	$(PY) -m ruff check --fix-only
	$(PY) -m ruff format

.PHONY: bench
bench: $(READY) ## Benchmarks, each against its rival in the same run
	@$(PY) -m bench $(ARGS)

# SAFE's table is not part of the repository; without it the models learn from written rules.
SETTINGS ?= synthetic

.PHONY: models
models: $(OFFLINE) recordings ## Retrains the shipped models into runs/: adaptive EQ (SETTINGS=safe_eq.csv MUSIC=folder), codec, manifold
	$(PY) -m cspace train eq --data $(SETTINGS) --out runs/eq --force
	$(PY) -m cspace train audio-encoder --data $(SETTINGS) --eq runs/eq --out runs/adaptive-eq --force $(if $(MUSIC),--music $(MUSIC) --every 2)
	@$(PY) scripts/models.py

.PHONY: update
update: $(READY) ## Renews the pinned versions in constraints/
	@scripts/update_pins.sh

.PHONY: build
build: $(READY) ## The wheel for Python 3.10 and later on any Linux with glibc 2.28 or later, into dist/
	@scripts/build_wheel.sh

.PHONY: clean
clean: ## Removes all that these commands made
	rm -rf .venv .venv-newest .venv-lowest target dist demo bench/out .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f src/cspace/_native*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
