# The stable commands. `make up` and `make test` work from a bare clone with python3 >= 3.11 and pip, nothing else.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(VENV)/bin/uv
STAMP := $(VENV)/.installed
MEMBERS := $(wildcard libs/*/pyproject.toml services/*/pyproject.toml deploy/*/pyproject.toml)
EDITABLE := $(foreach m,$(MEMBERS),-e $(dir $(m)))
DATA_DIR ?= .weirgate

.PHONY: up install test check bench clean lock format

install: $(STAMP)

$(STAMP): requirements.lock pyproject.toml $(MEMBERS)
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Weirgate needs Python 3.11 or newer; set PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tools.lock
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps $(EDITABLE)
	@touch $(STAMP)

up: install
	@exec $(BIN)/weirgate up --demo --data-dir $(DATA_DIR)

test: install
	@bash tests/needs.sh
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

check: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports
	@$(BIN)/python tests/lock.py --check

format: install
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

lock: install
	@$(BIN)/python tests/lock.py

bench: install
	@bash tests/needs.sh
	@$(BIN)/python -m tests.bench $(BENCH_ARGS)

clean:
	@if [ -x $(BIN)/weirgate ] && [ -d $(DATA_DIR) ]; then $(BIN)/weirgate down --data-dir $(DATA_DIR) --purge; fi
	@rm -rf $(VENV) $(DATA_DIR) .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
