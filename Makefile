# Everything a developer or a CI machine does; `make` alone lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
PYTHON ?= python3
WORKERS ?= 2
SEED ?=
ARGS ?=
SIM_SEEDS ?= 300
FILE ?= examples/debate.light.yaml
STAMP := .venv/.installed
PACKAGES := tests/conformance/node_modules/.package-lock.json
PAGES := dipeo_server/web/graphiql.html
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --extra sandbox --extra testing --group dev

.PHONY: help install frontend pages run serve test check conformance fmt lock docs schema bench sim prove clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-11s %s\n", $$1, $$2 }'

install: $(STAMP) pages ## Make .venv with everything pinned; done by the others when it is missing

$(STAMP): pyproject.toml .ci/requirements.txt .ci/install-python
	.ci/install-python "$(PYTHON)" $(BIN)
	@touch $@

frontend: $(PAGES) ## Build GraphiQL into the package; needs Node.js

$(PAGES): $(shell find frontend-stub -path '*/node_modules' -prune -o -type f -print 2>/dev/null)
	npm --prefix frontend-stub ci --no-audit --no-fund --loglevel error
	npm --prefix frontend-stub run --silent build

pages:
	@if ! command -v npm > /dev/null; then echo "GraphiQL is not built, as npm (Node.js) is missing; all else works."; \
	else $(MAKE) --no-print-directory frontend || echo "GraphiQL is NOT built (see above). All else works."; fi

run: $(STAMP) ## Run a diagram in the terminal [FILE=examples/debate.light.yaml]
	$(BIN)/dipeo-server run $(FILE)

serve: $(STAMP) pages ## Serve GraphQL on http://127.0.0.1:8000/graphql, GraphiQL beside it
	$(BIN)/dipeo-server serve

test: $(STAMP) ## Run the tests, without the large counts [WORKERS=2]
	$(BIN)/pytest -n $(WORKERS) -ra -m "not slow and not prove and not conformance"

check: $(STAMP) ## Lint, format, types, layers and house rules; changes nothing
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/codespell
	$(BIN)/mypy && $(BIN)/lint-imports --no-logo
	$(BIN)/pytest -q -ra tests/house

conformance: $(STAMP) $(PACKAGES) ## Hold the server against the protocols, and real clients of them
	$(BIN)/pytest -ra tests/conformance

$(PACKAGES): tests/conformance/package-lock.json
	@if ! command -v npm > /dev/null; then echo "There is no npm: what needs it is skipped."; \
	else cd tests/conformance && npm ci --no-audit --no-fund --loglevel error && touch ../../$@; fi

fmt: $(STAMP) ## Format, and mend what can be mended safely
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lock: | $(BIN)/uv ## Pin every dependency anew in .ci/requirements.txt [UPGRADE=--upgrade]
	$(BIN)/$(COMPILE) $(UPGRADE) pyproject.toml --output-file .ci/requirements.txt

$(BIN)/uv:
	$(MAKE) install

docs: $(STAMP) ## Write docs/nodes.md and docs/permissions.md from the code
	$(BIN)/dipeo-server export-nodes --output docs/nodes.md
	$(BIN)/dipeo-server export-permissions --output docs/permissions.md

schema: $(STAMP) ## Print the GraphQL schema into schema.graphql
	$(BIN)/dipeo-server export-schema > .venv/schema.graphql
	@cp .venv/schema.graphql schema.graphql

bench: $(STAMP) ## Measure beside other engines, against the goals [ARGS="--quick"]
	$(BIN)/python -m bench $(ARGS)

sim: $(STAMP) ## Simulate crashes, orders and faults in virtual time [SEED=8412] [SIM_SEEDS=300]
	SEED=$(SEED) SIM_SEEDS=$(SIM_SEEDS) $(BIN)/pytest -ra tests/simulation $(if $(SEED),-k one_seed)

prove: $(STAMP) ## Run the large counts behind the promises; takes long
	$(BIN)/pytest -n $(WORKERS) -raP -m "slow or prove" --timeout 1800

clean: ## Remove .venv and what tools leave behind
	rm -rf .venv .*_cache .hypothesis .coverage* dist dipeo_server/web frontend-stub/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
