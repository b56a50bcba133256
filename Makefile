# Sanhui's verbs. Each does its own set-up: Python ≥ 3.11, make and git are all that must be there.
#   make demo                            a sample county on this machine (SQLite, a directory as object store)
#   make demo STORE=minio DB=postgres    the same on a real MinIO and a real PostgreSQL
#   make test                            everything CI checks
#   make fuzz RUNS=1000000               coverage-guided fuzzing of everything that reads bytes from outside (Linux)
#   make lint · make format · make bench · make openapi · make lock · make clean

PYTHON ?= python3
STORE ?= directory
DB ?= sqlite
VENV := .venv
BIN := $(VENV)/bin
RUNS ?= 100000
BENCHES := packet_path record_density
UI := web/ui
UI_SOURCES := $(shell find $(UI) -type f -not -path '*/node_modules/*' -not -path '*/dist/*' 2>/dev/null)

export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint lint-ui format fuzz bench openapi lock system-packages clean

help:
	@sed -n '2,7p' Makefile | cut -c3-

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) tools/check_python.py
	@echo "[1/3] Python packages into $(VENV) (a minute or two the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -r requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(UI)/node_modules/.ready: $(VENV)/.ready $(UI)/package.json $(UI)/package-lock.json
	@echo "[2/3] Packages of the desk pages"
	@cd $(UI) && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --no-audit --no-fund --loglevel=error
	@touch $@

web/static/.ready: $(UI)/node_modules/.ready $(UI_SOURCES)
	@echo "[3/3] Building the desk pages"
	@cd $(UI) && PATH="$(CURDIR)/$(BIN):$$PATH" npm run --silent build
	@touch $@

demo: web/static/.ready
	@$(BIN)/python -m tools.servers --store $(STORE) --database $(DB) --data demo-servers -- $(BIN)/sanhui demo $(DEMO_FLAGS)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lint-ui: $(UI)/node_modules/.ready
	cd $(UI) && PATH="$(CURDIR)/$(BIN):$$PATH" npm run --silent lint && PATH="$(CURDIR)/$(BIN):$$PATH" npm run --silent test

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

system-packages: $(VENV)/.ready
	@$(BIN)/python -m tools.system_packages

test: lint lint-ui system-packages web/static/.ready
	$(BIN)/python -m tools.servers --prepare
	$(BIN)/pytest $(PYTEST_FLAGS)

$(VENV)/.fuzz: $(VENV)/.ready
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-build-isolation -e ".[fuzz]"
	@touch $@

fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzz.run --runs $(RUNS) $(FUZZ_FLAGS)

bench: $(VENV)/.ready
	@for program in $(BENCHES); do $(BIN)/python bench/$$program.py $(BENCH_FLAGS) || exit 1; done

openapi: $(VENV)/.ready
	$(BIN)/python -m web.openapi > $(UI)/openapi.json
	cd $(UI) && PATH="$(CURDIR)/$(BIN):$$PATH" npm run --silent client

lock: $(VENV)/.ready
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra dev --extra servers \
		--no-emit-index-url --custom-compile-command "make lock" pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) $(UI)/node_modules web/static build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
