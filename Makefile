# Everything here needs only make, git and Python 3.11 or newer with pip. `make` alone lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup check test demo invoices bench bench-gateway bench-streams prices docs verify-costs verify-gateway verify-usage verify-vectors lock clean

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# A file's tests stay on one worker, so that module fixtures (servers, databases) start once.
PYTEST := $(BIN)/pytest -rfEs -n 2 --dist loadfile
PYTHONS := python3 python3.13 python3.12 python3.11
IS_RECENT := import sys; sys.exit(sys.version_info < (3, 11))
UV := uv==0.13.9
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## Create .venv from the lock file and install costplus into it

# The stamp is older than its inputs after every change of a dependency, and only then.
$(READY): requirements-dev.lock pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes -r requirements-dev.lock
	$(PIP) --no-build-isolation --no-deps -e .
	@touch $@

$(BIN)/python:
	@for python in $(PYTHONS); do \
		if "$$python" -c '$(IS_RECENT)' 2>/dev/null; then \
			echo "Creating $(VENV) with $$("$$python" --version)"; \
			"$$python" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }; \
			exit 0; \
		fi; \
	done; \
	echo "costplus needs Python 3.11 or newer, but none of these is: $(PYTHONS)." >&2; \
	exit 1

check: setup ## Format, lint, types, import contracts and the fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(PYTEST) -m "not e2e and not slow" $(args)

test: setup ## Every test; args="-k name" narrows it down
	$(PYTEST) $(args)

demo: setup ## Set everything up with a simulated provider and show live calls being billed
	$(BIN)/costplus demo $(args)

invoices: setup ## Write example invoices of four ways to sell to build/invoices as PDF
	$(BIN)/python scripts/example_invoices.py $(args)

bench: setup ## Measure the gateway, rating, credit and the books; args="--only rating" measures a part
	PYTHONPATH=scripts $(BIN)/python bench/run.py $(args)

bench-gateway: setup ## Measure the gateway beside nginx, LiteLLM and Portkey; args="--quick --markdown"
	PYTHONPATH=scripts $(BIN)/python bench/gateways.py $(args)

bench-streams: setup ## Hold 2,000 streams of 60 s open at once; args="--streams 200 --seconds 5" takes less
	PYTHONPATH=scripts $(BIN)/python bench/streams.py $(args)

prices: setup ## Rebuild the bundled price snapshot from its public sources
	$(BIN)/python scripts/build_price_snapshot.py $(args)

verify-costs: setup ## Check recorded usage against its right tokens and cost; CASES=FILE takes another file
	$(BIN)/python scripts/verify_costs.py $(CASES)

docs: setup ## Write the reference pages of docs/ again from the code
	$(BIN)/python scripts/write_error_reference.py
	$(BIN)/python scripts/write_api_reference.py

verify-usage: setup ## Account for every recorded exchange; CAPTURES=FILE takes another recording
	$(BIN)/python scripts/verify_usage.py $(CAPTURES) $(args)

verify-gateway: setup ## Replay every recorded exchange through a running gateway; CAPTURES=FILE takes another recording
	$(BIN)/python scripts/verify_gateway.py $(CAPTURES) $(args)

verify-vectors: setup ## Run other billing systems' cases on SQLite and PostgreSQL; VECTORS=FILE takes another file
	$(BIN)/python scripts/verify_vectors.py $(VECTORS)

lock: $(BIN)/python ## Resolve the lock files again from pyproject.toml; args=--upgrade takes newer versions
	@tool=$$(mktemp -d); trap 'rm -rf "$$tool"' EXIT; \
	$(BIN)/python -m venv "$$tool"; \
	"$$tool/bin/python" -m pip install --quiet --disable-pip-version-check $(UV); \
	export PATH="$$tool/bin:$$PATH"; \
	$(COMPILE) $(args) --all-extras pyproject.toml --output-file requirements.lock; \
	$(COMPILE) $(args) --all-extras pyproject.toml --group dev --output-file requirements-dev.lock; \
	$(COMPILE) $(args) bench/peers/litellm.in --output-file bench/peers/litellm.lock

clean: ## Remove caches and build output; .venv and data stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests $(wildcard scripts bench) -name __pycache__ -prune -exec rm -rf {} +
