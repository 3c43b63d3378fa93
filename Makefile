# Every path is relative, and every tool is started by the environment's python: the shebang lines that
# installers write break where the checkout's path has a space in it.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python

# Flags for `make run`, for example ARGS="--port 0 --contacts 10000".
ARGS ?=
# What `make test` runs, for example TESTS="tests/unit -k token".
TESTS ?= tests
# Percent of the branches in src/, without the development parts, below which `make test` fails.
COVERAGE ?= 95
# Of pytest: one more than there are processors, because tests that wait for servers leave theirs to others.
PROCESSES ?= $(shell $(PY) -c 'import os; print((os.cpu_count() or 1) + 1)')

# uv installs ten times as fast as pip (5 s, not 45), so pip fetches uv and uv the rest. Where uv finds no way
# out, as where a proxy or a mirror is set in pip's configuration alone, pip does it all.
# Modules are compiled once and for all: where Python may not write down what it compiled, every start of a process
# would do it again, for a second and a half.
# The machine's own certificates are asked where there are any: a company's proxy may need them.
UV := $(PY) -m uv $(if $(wildcard /etc/ssl/certs/ca-certificates.crt),--system-certs)
INSTALL = $(UV) pip install --quiet --compile-bytecode --python $(PY) $(1) || $(PY) -m pip install --quiet $(1)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install run test test-browser screenshots chaos bench bench-audience bench-pixel lint fmt openapi pins clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

install: $(VENV)/.test ## Make .venv with everything that running, testing and linting need

run: $(VENV)/.dev ## Run it all on this machine: database, queue, inbox, CRM stand-in, API, worker
	@exec $(PY) -m marketing_service dev $(ARGS)

test: $(VENV)/.test ## Run the tests and print the coverage
	@$(PY) -m pytest -n $(PROCESSES) --cov --cov-report=term --cov-fail-under=$(COVERAGE) $(TESTS)

test-browser: $(VENV)/.test ## Walk through the console in a browser (Debian's package chromium)
	@$(PY) -m pytest --browser $(if $(filter-out tests,$(TESTS)),$(TESTS),tests/browser)

screenshots: $(VENV)/.test ## Take the pictures in docs/console/ anew, with the same browser
	@$(PY) -m tests.browser.screenshots

chaos: $(VENV)/.test ## Break everything that sending stands on, at full size, and reconcile (some 30 minutes)
	@$(PY) -m pytest -v --full $(if $(filter-out tests,$(TESTS)),$(TESTS),tests/chaos)

# What is measured, for example BENCH=--quick, or BENCH="--memory 300000".
BENCH ?=

bench: $(VENV)/.dev ## Measure the sending, beside Postfix's load generator and plain aiosmtplib
	@$(PY) -m bench.run $(BENCH)

bench-audience: $(VENV)/.dev ## Time the expansion of a million contacts, count what reads cost with ten million sends
	@$(PY) -m bench.expansion
	@$(PY) -m bench.reads

bench-pixel: $(VENV)/.dev ## Time loads of pixels beside an empty route
	@$(PY) -m bench.pixel $(BENCH)

lint: $(VENV)/.test ## Check style, types, layers, and that openapi/ is what the code generates
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) $(VENV)/bin/lint-imports
	@$(PY) -m marketing_service openapi --check

fmt: $(VENV)/.test ## Format the code and mend what can be mended by itself
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format .

openapi: $(VENV)/.dev ## Write openapi/marketing.yaml anew from the code
	@$(PY) -m marketing_service openapi

clean: ## Remove .venv, caches, and the data of `make run`
	@rm -rf $(VENV) .dev .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# ── the environment, in three steps; a stamp tells that a step is done ───────────────────────────────────

$(VENV)/.installer: requirements/install.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "$(PYTHON) is missing or older than 3.11: install a newer one, or name one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make virtual environments: run 'apt-get install python3-venv' first." >&2; exit 1; }
	@echo "Making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/.dev: $(VENV)/.installer requirements/dev.txt pyproject.toml
	@echo "Installing the service and its development parts ..."
	@$(call INSTALL,--require-hashes -r requirements/dev.txt)
	@$(call INSTALL,--no-deps --no-build-isolation --editable .)
	@touch $@

$(VENV)/.test: $(VENV)/.dev requirements/test.txt
	@echo "Installing the test tools ..."
	@$(call INSTALL,--require-hashes -r requirements/test.txt)
	@touch $@

# ── pins ─────────────────────────────────────────────────────────────────────────────────────────────────

# Every file is cut from one resolution, so that no two of them disagree. `make pins UPGRADE=--upgrade` moves
# to the newest versions.
UPGRADE ?=
COMPILE = $(UV) pip compile --quiet --generate-hashes --universal --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --python-version 3.11

pins: $(VENV)/.installer ## Write requirements/*.txt anew from pyproject.toml
	@$(COMPILE) $(UPGRADE) pyproject.toml --all-extras --output-file requirements/test.txt
	@$(COMPILE) pyproject.toml --extra dev --constraints requirements/test.txt --output-file requirements/dev.txt
	@$(COMPILE) pyproject.toml --constraints requirements/test.txt --output-file requirements/run.txt
	@$(COMPILE) $(UPGRADE) --group install --constraints requirements/test.txt --output-file requirements/install.txt
