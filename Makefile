# Every target does its own set-up: a virtual environment in .venv with the pinned versions.
#   make demo    run the demonstration; opens with demo-out/report.html
#   make test    run the tests
#   make lint types wheel    what CI checks besides
# On Linux without a GPU, the CPU build of torch saves 3 GB; PyTorch's install page gives the URL:
#   make demo PIP_ARGS="--extra-index-url URL"

VENV ?= .venv
PIP_ARGS ?=
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test lint types wheel clean
.DEFAULT_GOAL := setup

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later was not found; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(READY)
	rm -rf demo-out
	$(BIN)/openeo-nc demo --out demo-out

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

wheel: $(READY)
	bash .ci/wheel $(BIN)/python

clean:
	rm -rf build dist demo-out .pytest_cache .mypy_cache .ruff_cache
