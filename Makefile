# Sanhui's verbs. Each does its own set-up: Python ≥ 3.11, make and git are all that must be there.
#   make demo                            a sample county on this machine (SQLite, a directory as object store)
#   make demo STORE=minio DB=postgres    the same on a real MinIO and a real PostgreSQL
#   make test                            everything CI checks
#   make fuzz RUNS=1000000               coverage-guided fuzzing of everything that reads bytes from outside (Linux)
#   make soak MOMENTS=200                each fault of docs/reliability.md at so many random moments
#   make wheel                           the package for a machine without Docker, into dist/
#   make migration ABOUT="a new column"  the next step of the schema, from the models as they are now
#   make lint · make format · make bench · make openapi · make lock · make clean

PYTHON ?= python3
MOMENTS ?= 200
STORE ?= directory
DB ?= sqlite
VENV := .venv
BIN := $(VENV)/bin
# Tests wait more than they compute, so on two cores three processes share them; one of them has the browser's. 0: all in
# one process.
WORKERS ?= 3
SHARED := -n $(WORKERS) --dist loadgroup --no-loadscope-reorder
RUNS ?= 100000
BENCHES := packet_path record_density live_latency seek county whep_fanout join glass note_to_tv
# All five packages, the packet path compiled by setup.py where there is a C compiler, plain Python where there is none.
COMPILED := build/compiled
COMPILED_SOURCES := setup.py $(shell find media streaming recorder storage web -name '*.py' -not -path '*/node_modules/*')
COMPILED_TESTS := tests/media tests/streaming/test_cameras.py tests/streaming/test_client.py \
	tests/streaming/test_connection.py tests/streaming/test_pacing.py tests/recorder/test_spool.py tests/recorder/test_spool_damage.py \
	tests/recorder/test_law_one.py tests/recorder/test_check.py tests/recorder/test_export.py tests/recorder/test_gaps.py \
	tests/recorder/test_guidance.py tests/recorder/test_phone_meeting.py
RUN_COMPILED := PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(COMPILED):$(CURDIR)
UI := web/ui
UI_SOURCES := $(shell find $(UI) -type f -not -path '*/node_modules/*' -not -path '*/dist/*' 2>/dev/null)

export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-compiled lint lint-ui format fuzz soak bench migration openapi lock wheel system-packages clean

help:
	@sed -n '2,9p' Makefile | cut -c3-

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

$(COMPILED)/.ready: web/static/.ready $(COMPILED_SOURCES)
	@echo "Compiling the packet path (a minute the first time)"
	@rm -rf $(COMPILED)
	@mkdir -p build
	@SANHUI_COMPILE=1 $(BIN)/python -W ignore setup.py --quiet build --build-lib $(COMPILED) --build-temp build/objects \
		> build/compile.log || { cat build/compile.log; exit 1; }
	@# As pip does in the image: what is compiled to bytecode at each start leaves holes in the memory.
	@$(BIN)/python -m compileall -q $(COMPILED)
	@touch $@

# Three cameras need no compiled packet path: a newcomer does not wait for it.
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
	$(BIN)/pytest $(SHARED) $(PYTEST_FLAGS)
	$(MAKE) test-compiled

# The tests above run the sources. What is compiled from them must pass the packet path's tests too.
test-compiled: $(COMPILED)/.ready
	$(RUN_COMPILED) $(BIN)/pytest --import-mode=importlib -o "pythonpath=$(COMPILED) ." $(SHARED) $(COMPILED_TESTS) $(PYTEST_FLAGS)

wheel: web/static/.ready
	SANHUI_COMPILE=1 $(BIN)/python -m build --wheel --no-isolation --outdir dist

$(VENV)/.fuzz: $(VENV)/.ready
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-build-isolation -e ".[fuzz]"
	@touch $@

fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzz.run --runs $(RUNS) $(FUZZ_FLAGS)

soak: $(VENV)/.ready
	$(BIN)/python -m tools.servers --prepare
	$(BIN)/pytest tests/faults --moments $(MOMENTS) --timeout 7200 $(SOAK_FLAGS)

bench: $(COMPILED)/.ready web/static/.ready
	@$(BIN)/python -m tools.servers --prepare
	@for program in $(BENCHES); do $(RUN_COMPILED) $(BIN)/python -m bench.$$program $(BENCH_FLAGS) || exit 1; done

migration: $(VENV)/.ready
	@$(BIN)/python -m tools.migration "$(ABOUT)"

openapi: $(VENV)/.ready
	$(BIN)/python -m web.openapi > $(UI)/openapi.json
	cd $(UI) && PATH="$(CURDIR)/$(BIN):$$PATH" npm run --silent client

lock: $(VENV)/.ready
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra dev --extra servers \
		--no-emit-index-url --custom-compile-command "make lock" pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) $(UI)/node_modules web/static build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
