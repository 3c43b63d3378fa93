# Every path is relative, and the environment's python starts every tool: the shebang lines that installers write
# break if the path of the checkout contains a space.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python

# Flags for `make run`, for example ARGS="--port 0 --contacts 10000".
ARGS ?=
# The tests that `make test` runs, for example TESTS="tests/unit -k token".
TESTS ?= tests
# The branch coverage of src/ (without devstack) in percent, below which `make test` fails.
COVERAGE ?= 94
# Processes of pytest: one more than there are processors, because a test that waits for a server uses no processor.
PROCESSES ?= $(shell $(PY) -c 'import os; print((os.cpu_count() or 1) + 1)')

# uv installs ten times as fast as pip (5 s instead of 45 s), so pip installs uv, and uv installs everything else. If uv
# cannot reach an index, for example because only pip's configuration names a proxy, pip installs everything.
# Modules are compiled during the installation: if Python may not write compiled files, every start of a process would
# compile them again, for 1.5 s.
# uv uses the certificates of the machine if there are any: the proxy of a company may need them.
UV := $(PY) -m uv $(if $(wildcard /etc/ssl/certs/ca-certificates.crt),--system-certs)
INSTALL = $(UV) pip install --quiet --compile-bytecode --python $(PY) $(1) || $(PY) -m pip install --quiet $(1)

# If Python may not write compiled files, every start of a process of the service compiles its 300 modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install run test test-browser screenshots chaos simulate mutate fuzz bench bench-audience bench-pixel bench-bounds bench-import audit lint fmt \
	openapi pins release sql clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

install: $(VENV)/.test ## Create .venv with everything that running, testing and linting need

run: $(VENV)/.dev ## Run everything on this machine: database, queue, inbox, development CRM, API, worker
	@exec $(PY) -m marketing_service dev $(ARGS)

test: $(VENV)/.test ## Run the tests and print the coverage
	@$(PY) -m pytest -n $(PROCESSES) --cov --cov-report=term --cov-fail-under=$(COVERAGE) $(TESTS)

test-browser: $(VENV)/.test ## Test the console in a browser (Debian's package chromium)
	@$(PY) -m pytest --browser $(if $(filter-out tests,$(TESTS)),$(TESTS),tests/browser)

screenshots: $(VENV)/.test ## Take the pictures in docs/console/ again, with the same browser
	@$(PY) -m tests.browser.screenshots

chaos: $(VENV)/.test ## Run the fault tests at full size: kill processes and servers, then reconcile; measure the statements (30 minutes)
	@$(PY) -m pytest -v --full $(if $(filter-out tests,$(TESTS)),$(TESTS),tests/chaos tests/integration/ledger/test_statement_costs.py)

# How many worlds `make simulate` runs, and the first of them. `make simulate SEED=17` tells the story of one.
SEEDS ?= 20000
FIRST ?= 0
SEED ?=

simulate: $(VENV)/.test ## Run the engine in simulated worlds, and tell the story of the first that fails
	@$(PY) -m simulation --seeds $(SEEDS) --first $(FIRST) $(if $(SEED),--seed $(SEED))

mutate: $(VENV)/.test ## Break the engine in known ways, one by one: the simulation must find each within 2,000 worlds
	@$(PY) -m simulation.mutate

# The profiles of Hypothesis, with the numbers of examples, are in tests/conftest.py.
fuzz: $(VENV)/.test ## Generate 10,000 inputs for every reader of foreign text, and 500 requests per operation (hours)
	@$(PY) -m pytest -n $(PROCESSES) --fuzz tests/fuzz tests/integration/api_contract/test_schema.py

# Options of the measurements, for example BENCH=--quick, or BENCH="--memory 300000".
BENCH ?=

bench: $(VENV)/.dev ## Measure the sending, compared with Postfix's load generator and plain aiosmtplib
	@$(PY) -m bench.run $(BENCH)

bench-audience: $(VENV)/.dev ## Measure an expansion of a million contacts, and the cost of reads with ten million sends
	@$(PY) -m bench.expansion
	@$(PY) -m bench.reads

bench-pixel: $(VENV)/.dev ## Measure loads of pixels, compared with an empty route
	@$(PY) -m bench.pixel $(BENCH)

bench-bounds: $(VENV)/.dev ## Send hostile inputs to the API, and measure /healthz and the memory meanwhile
	@$(PY) -m bench.bounds $(BENCH)

bench-import: $(VENV)/.dev ## Import 120,000 rows into the suppression list, and measure the requests meanwhile
	@$(PY) -m bench.imports $(BENCH)

# The exit code of pip-audit is 1 both for a finding and for data that it could not read, so its last words decide. A
# package that the data does not know counts as not audited (--strict): without data, no result must look like a good one.
AUDIT_SERVICE ?= pypi

audit: $(VENV)/.test ## Look for known vulnerabilities of the pinned packages (needs a connection to its data)
	@$(PY) -m pip_audit --strict --progress-spinner off --disable-pip --require-hashes --timeout 15 \
		--vulnerability-service $(AUDIT_SERVICE) $(foreach file,$(wildcard requirements/*.txt),--requirement $(file)) \
		> $(VENV)/audit.txt 2>&1; code=$$?; \
	if [ $$code = 0 ] || grep -q '^Found [0-9]* known vulnerabilit' $(VENV)/audit.txt; then \
		cat $(VENV)/audit.txt; exit $$code; \
	fi; \
	tail -n 1 $(VENV)/audit.txt >&2; \
	echo "NOT AUDITED: pip-audit could not read its data about every pinned package. This is no result: run" \
		"'make audit' again with a connection to the package index." >&2; exit 2

lint: $(VENV)/.test ## Check style, types, layers and deploy/, and compare openapi/ and ledger/sql/ with the code
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) $(VENV)/bin/lint-imports
	@$(PY) -m marketing_service openapi --check
	@$(PY) -m marketing_service.ledger.functions --check
	@$(PY) -m tests.support.deploy_check

fmt: $(VENV)/.test ## Format the code, and repair what can be repaired automatically
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format .

openapi: $(VENV)/.dev ## Write openapi/marketing.yaml from the code
	@$(PY) -m marketing_service openapi

sql: $(VENV)/.dev ## Write ledger/sql/*.sql from their templates
	@$(PY) -m marketing_service.ledger.functions

clean: ## Remove .venv, caches, and the data of `make run`
	@if [ -x $(PY) ]; then $(PY) -m marketing_service.devstack.postgres_programs; fi
	@rm -rf $(VENV) .dev .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# ── the environment, in three steps; a stamp file marks a finished step ──────────────────────────────────

$(VENV)/.installer: requirements/install.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "$(PYTHON) is missing or older than 3.11: install a newer one, or name one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot create virtual environments: run 'apt-get install python3-venv' first." >&2; exit 1; }
	@echo "Creating $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/.dev: $(VENV)/.installer requirements/dev.txt pyproject.toml
	@echo "Installing the service and its development servers ..."
	@$(call INSTALL,--require-hashes -r requirements/dev.txt)
	@$(call INSTALL,--no-deps --no-build-isolation --editable .)
	@touch $@

$(VENV)/.test: $(VENV)/.dev requirements/test.txt
	@echo "Installing the test tools ..."
	@$(call INSTALL,--require-hashes -r requirements/test.txt)
	@touch $@

# ── pins ─────────────────────────────────────────────────────────────────────────────────────────────────

# All files come from one resolution, so that they have the same versions. `make pins UPGRADE=--upgrade` uses the
# newest versions.
UPGRADE ?=
COMPILE = $(UV) pip compile --quiet --generate-hashes --universal --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --python-version 3.11

pins: $(VENV)/.installer ## Write requirements/*.txt from pyproject.toml
	@$(COMPILE) $(UPGRADE) pyproject.toml --all-extras --output-file requirements/test.txt
	@$(COMPILE) pyproject.toml --extra dev --constraints requirements/test.txt --output-file requirements/dev.txt
	@$(COMPILE) pyproject.toml --constraints requirements/test.txt --output-file requirements/run.txt
	@$(COMPILE) $(UPGRADE) --group install --constraints requirements/test.txt --output-file requirements/install.txt

# ── releases ─────────────────────────────────────────────────────────────────────────────────────────────

VERSION = $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)

release: $(VENV)/.test ## Check that the version of pyproject.toml can be released, and tag it
	@test -z "$$(git status --porcelain)" || \
		{ echo "The working tree is not clean: commit the changes first." >&2; exit 1; }
	@grep -qF '## [$(VERSION)]' CHANGELOG.md || { echo "CHANGELOG.md has no section for $(VERSION)." >&2; exit 1; }
	@! git rev-parse -q --verify 'refs/tags/v$(VERSION)' > /dev/null || \
		{ echo "The tag v$(VERSION) exists: set a new version in pyproject.toml." >&2; exit 1; }
	@newest=$$(git tag --list 'v*' --sort=-version:refname | head -n 1); \
	[ -z "$$newest" ] || grep -qxF "RELEASE = \"$$newest\"" tests/support/previous_release.py || \
		{ echo "The newest release is $$newest: set RELEASE in tests/support/previous_release.py to it first." >&2; exit 1; }
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory test TESTS=tests
	@git tag --annotate 'v$(VERSION)' --message 'Version $(VERSION)'
	@echo "Tagged v$(VERSION). Next: git push origin HEAD v$(VERSION)"
