# Everything below this folder: .venv/ (Python packages) and var/ (servers, keys, data). `make clean` removes both.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTEST := .venv/bin/python -m pytest
# A process a core, each with servers of its own; one file's tests stay together (pyproject.toml), because they share what is dear to start;
# tests/conftest.py hands out the long files first.
PARALLEL := -n 2
# Compiled modules are kept even where the environment says otherwise: every program that a test starts would compile all of them again.
unexport PYTHONDONTWRITEBYTECODE
TESTS := not faults and not slow
# What .venv must hold; PYTHON=... chooses the interpreter that makes it.
WANTED := $$(cat requirements.lock pyproject.toml broker/console/frontend/package-lock.json | sha256sum | cut -c1-64)
.PHONY: screenshots help setup servers go demo up down test check slow bench faults lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install the locked packages and the console's assets into .venv (every other command does it when needed)
	@[ "$$(cat .venv/.installed 2>/dev/null)" = "$(WANTED)" ] && exit 0; \
	for python in $(PYTHON) python3.13 python3.12 python3.11 python3 none; do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; done; \
	[ "$$python" != none ] || { echo "Python 3.11 or later is needed: apt-get install python3 python3-venv"; exit 1; }; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "First: sudo apt-get install python3-venv"; exit 1; }; \
	  echo "Installing python3-venv"; \
	  apt-get install -qy python3-venv || { apt-get -q update && apt-get install -qy python3-venv; }; fi; \
	echo "Making .venv with $$("$$python" --version) and the packages of requirements.lock (once; a minute or two)"; \
	[ -x .venv/bin/python ] || "$$python" -m venv .venv; \
	.venv/bin/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock; \
	.venv/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .; \
	.venv/bin/python -m deploy.console_assets; \
	echo "$(WANTED)" > .venv/.installed

servers: setup # RabbitMQ and a browser, before a test's own time runs; PostgreSQL came with the packages
	@.venv/bin/python -m deploy.local.install

demo: setup ## enrol a fictional county, send the sample referrals, show who got what (SAMPLES=dir, CHECK=1)
	@.venv/bin/safelane demo $(if $(SAMPLES),--samples "$(SAMPLES)") $(if $(CHECK),--check)

up: setup ## start everything, leave it running and print what to try
	@.venv/bin/safelane up

down: ## stop what `make up` started; data stays
	@if [ -x .venv/bin/safelane ]; then .venv/bin/safelane down; else echo "Nothing runs: there is no .venv."; fi

go: setup # Go and its library, for the test in which another implementation verifies the log
	@.venv/bin/python -m tests.support.go_program

test: servers go ## every test but the long runs below, on real RabbitMQ and PostgreSQL nodes of its own
	@$(PYTEST) $(PARALLEL) -m "$(TESTS)"

check: servers go ## style, types, import directions, then `make test`
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@$(PYTEST) $(PARALLEL) -m "$(TESTS)"

screenshots: servers ## a picture of every page of the console in var/screenshots, wide and narrow
	@SAFELANE_SCREENSHOTS=var/screenshots $(PYTEST) -q tests/browser/test_every_page.py tests/browser/test_hub_journeys.py
	@echo "Pictures: var/screenshots"

slow: servers ## ten thousand generated headers, decided by Cedar and by the oracle
	@$(PYTEST) -m slow

faults: servers ## kills, cuts and restarts alone, with those too long for `make test`
	@$(PYTEST) tests/faults
	@$(PYTEST) tests/integration -m faults

bench: servers ## measure; var/bench/result.json (ONLY=relay|fsck|log_proofs|audit|reports|console, FRESH=1 fills the ten million events anew)
	@.venv/bin/python -m bench $(if $(ONLY),--only "$(ONLY)") $(if $(FRESH),--fresh)

lock: setup ## resolve pyproject.toml anew into requirements.lock
	@.venv/bin/python -m pip install --quiet pip-tools
	@.venv/bin/pip-compile --quiet --upgrade --generate-hashes --all-extras --allow-unsafe --strip-extras --no-header \
	  --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements.lock pyproject.toml

clean: ## stop our servers and remove .venv and var
	@if [ -x .venv/bin/python ] && [ -d var ]; then .venv/bin/python -m deploy.local.clean; fi
	@rm -rf .venv var build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
