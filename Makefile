# PhotoChanger. `make help` lists what there is; nothing else need be installed than Python 3.11 and make.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
WORKERS ?= auto

export PYTHONUTF8 := 1

.DEFAULT_GOAL := help
.PHONY: help demo run faults test lint format contracts lock bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## Send a photo through the whole of it and show the picture (PHOTO=path takes yours)
	@$(BIN)/photochanger demo $(if $(PHOTO),--photo "$(PHOTO)")

run: $(VENV)/.runtime ## Start the server with an embedded database; stop it with Ctrl-C
	@$(BIN)/photochanger serve

faults: $(VENV)/.runtime ## Replay every known way in which image providers fail, and compare
	@$(BIN)/photochanger provider-faults

test: $(VENV)/.dev ## Run all tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: $(VENV)/.dev ## Check style, types and import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

contracts: $(VENV)/.dev ## Write contracts/ and the generated part of docs/ anew
	$(BIN)/photochanger openapi --write contracts
	$(BIN)/python docs/job_states.py > docs/job-states.md
	$(BIN)/python docs/media_states.py > docs/media-states.md

lock: $(VENV)/.dev ## Resolve the requirements anew, with hashes and without index addresses
	$(BIN)/uv pip compile pyproject.toml requirements/build.in --extra server --extra embedded --extra s3 $(LOCK) -o requirements/runtime.txt
	$(BIN)/uv pip compile pyproject.toml requirements/build.in --extra dev -c requirements/runtime.txt $(LOCK) -o requirements/dev.txt
LOCK = --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet

bench: $(VENV)/.dev ## Measure the figures of benchmarks/README.md
	$(BIN)/python -m benchmarks

clean: ## Remove the virtual environment and the caches (never the data)
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "PhotoChanger needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing (Debian, Ubuntu: apt-get install python3-venv)" >&2; rm -rf $(VENV); exit 1; }

$(VENV)/.runtime: requirements/runtime.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing what PhotoChanger needs into $(VENV) (once) …"
	@$(PIP) --require-hashes -r requirements/runtime.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime
	@echo "Installing what the tests need into $(VENV) (once) …"
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@
