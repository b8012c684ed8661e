# Every verb is one line; `make` alone lists them. Needs git, make and Python 3.11 or newer, nothing else.
# What is set on the command line (KEEP=1, SEED=7) reaches the program as an environment variable: make exports it.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && exit; done; echo python3)
RUN = .venv/bin/python -m
# Suites start thousands of interpreters; where bytecode is not kept, each compiles all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE
SETUP = $(PYTHON) -m scripts.bootstrap

.DEFAULT_GOAL := help
.PHONY: help demo install dist images test test-fast faults fuzz sim bench bench-locality lint fmt wasm bacalhau lock migrate schema setup setup-dev release tools tools-bench tools-k8s e2e-k8s

help:  ## List the verbs
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/\1 | \2/p' Makefile | awk -F' [|] ' '{ printf "  make %-14s %s\n", $$1, $$2 }'

demo: setup  ## Three real nodes, a word count that goes to their data, all stopped again (KEEP=1 leaves them)
	@$(RUN) skrei.cli.demo

install: dist  ## Install the command `skrei` for this user, from wheels; nothing depends on this checkout then
	@sh dist/install.sh

dist: setup  ## Build the wheels and install.sh into dist/
	@$(RUN) scripts.dist

images: setup-dev  ## Build our images and stand-ins for those that they stand on, for the tests (root, Docker, minutes)
	@$(RUN) tests.support.compose

test: setup-dev  ## What CI runs: lint, types, import contracts, and every suite with its time budget
	@$(RUN) scripts.test

test-fast: setup-dev  ## The suites without real processes: unit, property, architecture
	@$(RUN) pytest -n 2 tests/unit tests/property tests/architecture

faults: setup-dev  ## Kill real processes while jobs run
	@$(RUN) pytest tests/faults

fuzz: setup-dev  ## Ask the API of a real stack thousands of things that its OpenAPI document makes up; SEED=n again
	@$(RUN) pytest tests/fuzz

sim: setup-dev  ## The simulation; SEED=n replays one run
	@$(RUN) pytest tests/simulation

bench: setup-dev  ## Measure a running stack's path, as docs/PERFORMANCE.md tells
	@$(RUN) benchmarks.run

bench-locality: setup-dev  ## What goes over the network when work goes to its data: 12 nodes with their own logs
	@$(RUN) benchmarks.locality

lint: setup-dev  ## Ruff, mypy and import-linter, without tests
	@$(RUN) scripts.test lint

fmt: setup-dev  ## Format, and fix what ruff can fix
	@$(RUN) ruff format . && $(RUN) ruff check --fix .

wasm: setup-dev  ## Compile our modules from C to WebAssembly
	@for each in examples/*/*.c libs/skrei/src/skrei/copying/*.c; do PYTHON=.venv/bin/python sh examples/build.sh ../$$each || exit 1; done
	@sh libs/plugins/kubernetes/build.sh

bacalhau:  ## Build Bacalhau's own command line with Go (minutes); the conformance tests then drive a stack with it
	@$(PYTHON) -m scripts.bacalhau

lock:  ## Pin requirements/*.txt from the pyproject files (UPGRADE=1: newest, UPGRADE=name: that one)
	@$(PYTHON) -m scripts.lock

migrate: setup-dev  ## Write a migration from the difference between tables and migrations: m="what it does"
	@$(RUN) scripts.migrate "$(m)"

schema: setup-dev  ## Write what all migrations do together: new databases are made by it
	@$(RUN) scripts.migrate --whole

release: setup-dev  ## Write a version everywhere and give the changelog's news its heading: V=0.3.0
	@$(RUN) scripts.release $(V)

setup:  ## Only set up what the demo needs
	@$(SETUP) runtime

setup-dev:  ## Only set up what the tests need
	@$(SETUP) dev

tools:  ## Build the servers of others that some tests want (Go and npm, some minutes)
	@$(PYTHON) -m scripts.tools

tools-bench:  ## Build the client of S3 that benchmarks/data.py takes turns with (Go, a minute)
	@$(PYTHON) -m scripts.tools --compared

tools-k8s:  ## Build a real Kubernetes of one node for `make e2e-k8s` (Go, ten minutes, once)
	@$(PYTHON) -m scripts.tools && $(PYTHON) -m scripts.tools_k8s

e2e-k8s: setup-dev tools-k8s  ## The Kubernetes engine and the chart, installed and used, on a real cluster of one node (root)
	@$(RUN) pytest tests/kubernetes
