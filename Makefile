# Everything a developer types. Targets that need the environment make it first; that is quick when nothing changed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
# Rings of tests start brokers and workers: one after the other, whatever -j says.
.NOTPARALLEL:

PYTHON ?=
export PYTHON
SECONDS ?=
SEED ?=
ROUNDS ?=
SECTIONS ?=
ACTIONS ?=
PROFILE ?=
RATE ?=
JSON ?=
RUNS ?=

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
LOCK := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

.PHONY: help setup venv kafka mariadb chromium demo test check lint types imports unit properties integration browser \
	fault-run servers faults bench bench-peers soak simulate screenshots docs format lock secrets clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: venv kafka ## Make .venv and fetch Apache Kafka (PYTHON=python3.12 chooses the interpreter)

venv:
	@scripts/setup.sh venv

kafka:
	@scripts/setup.sh kafka

mariadb:
	@scripts/setup.sh mariadb

chromium:
	@scripts/setup.sh chromium

demo: setup ## Run everything on this machine on generated events (SECONDS=60: end by itself and compare with the truth)
	@$(BIN)/rtexp demo $(if $(SECONDS),--seconds $(SECONDS))

test: unit properties servers ## Run every ring of tests, one fault run included

# Side by side, as all of them wait most of the time: for sessions to end, for intervals to pass. SEEN is what is seen of
# a running system, FOREIGN what comes from other people: their topics, brokers, mistakes and backups.
SEEN = $(addprefix tests/integration/test_,alerts.py demo.py live_pages.py metrics.py state_of_workers.py up.py)
FOREIGN = $(addprefix tests/integration/test_,bad_input.py dead_letter_limits.py dead_letters.py foreign_topics.py \
	restore.py secure_broker.py)
PIPELINE = $(addprefix tests/integration/test_,pipeline.py growth.py)

servers: setup mariadb chromium ## Run the rings that need servers, in five parts side by side
	@said=$$(mktemp -d); failed=0; running=(); \
	each() { local bad=0; for words in "$$@"; do $(PYTEST) $$words || bad=1; done; return $$bad; }; \
	start() { each "$${@:2}" >"$$said/$$1" 2>&1 & running+=($$!); }; \
	start faults "tests/faults --timeout 900"; \
	start browser "tests/browser --timeout 120" "$(SEEN) --timeout 600"; \
	start pipeline "$(PIPELINE) --timeout 600"; \
	start foreign "$(FOREIGN) --timeout 600"; \
	each "tests/integration $(addprefix --ignore ,$(PIPELINE) $(SEEN) $(FOREIGN)) --timeout 600" || failed=1; \
	for part in "$${running[@]}"; do wait "$$part" || failed=1; done; \
	cat "$$said/browser" "$$said/pipeline" "$$said/foreign" "$$said/faults"; rm -rf "$$said"; exit $$failed

check: lint types imports unit properties ## Run what needs no server: lint, types, import contracts, unit, properties

lint: venv ## Check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: venv ## Check types, strictly, in src and tests
	@$(BIN)/mypy

imports: venv ## Check that imports point inward
	@$(BIN)/lint-imports

unit: venv ## Test single modules, the independent oracle and the documents
	@$(PYTEST) tests/unit tests/oracle --timeout 120

properties: venv ## Test laws on generated input
	@$(PYTEST) tests/properties --timeout 300

integration: setup mariadb ## Test against a real broker and a real MariaDB, which the tests start
	@$(PYTEST) tests/integration --timeout 600

browser: venv chromium ## Test the pages in a real Chromium
	@$(PYTEST) tests/browser --timeout 120

fault-run: setup mariadb ## One run of each kind of faults, and scripted runs of deliberately broken engines
	@$(PYTEST) tests/faults --timeout 900

faults: setup mariadb ## Faults of disks, SQL and everything, for as long as you like (SECONDS=600 ROUNDS=20 SEED=7)
	@$(BIN)/python -m tests.faults $(if $(SECONDS),--seconds $(SECONDS)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(SEED),--seed $(SEED))

bench: setup ## Measure CPU an action, recovery, freshness and more (SECTIONS="cpu scale" ACTIONS=1000000 PROFILE=1)
	@$(BIN)/rtexp bench $(SECTIONS) $(if $(ACTIONS),--actions $(ACTIONS)) $(if $(PROFILE),--profile)

bench-peers: setup ## Measure Flink and Kafka Streams beside rtexp on the same topics, needs a JDK and Maven (ACTIONS=1000000)
	@$(BIN)/python -m bench.peers.run $(if $(ACTIONS),--actions $(ACTIONS)) $(if $(JSON),--json $(JSON))

soak: setup ## Run a steady stream and watch memory (SECONDS=720 RATE=5000)
	@$(BIN)/rtexp bench soak $(if $(SECONDS),--seconds $(SECONDS)) $(if $(RATE),--rate $(RATE))

simulate: venv ## Simulate what the statistics promise, and write docs/simulations.md (RUNS=5000; nightly)
	@$(BIN)/python -m bench.simulations --runs $(or $(RUNS),5000) $(if $(SEED),--seed $(SEED))

screenshots: venv chromium ## Open the pages over samples, and write docs/images/*.png
	@$(BIN)/python -m tests.browser.screenshots

docs: venv ## Write the pages that are made from the code: docs/commands.md, configuration.md, metrics.md
	@$(BIN)/python -m tests.documents

format: venv ## Format, and mend what ruff can mend
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

lock: venv ## Pin the newest versions that pyproject.toml allows, with hashes, in requirements/
	@$(LOCK) --extra parquet --upgrade -o requirements/runtime.txt
	@$(LOCK:pyproject.toml=) --upgrade --group build -o requirements/build.txt
	@$(LOCK) --upgrade --group dev -c requirements/runtime.txt -c requirements/build.txt -o requirements/dev.txt

secrets: ## Make the passwords that compose.yaml asks for in secrets/, those that are missing
	@mkdir -p -m 700 secrets
	@for name in web-token sql-password; do [ -s secrets/$$name ] || { (umask 077; head -c 24 /dev/urandom | \
		od -An -v -tx1 | tr -d ' \n' >secrets/$$name) && chmod 444 secrets/$$name; }; done

clean: ## Remove caches and build output; .venv, kafka/libs and data stay
	@rm -rf build dist bench/peers/*/target .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find src tests examples bench -name __pycache__ -type d -prune -exec rm -rf {} +
