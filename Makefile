# Two commands are enough: `make demo` and `make test`. Everything lands in .venv, .demo and web/static/vendor.

PORT ?= 8000
DATA_DIR ?= .demo
WORKERS ?= auto
TESTS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -qq
# The first of these that is new enough; `make PYTHON=/usr/bin/python3.12 …` names one.
PYTHONS := python3 python3.13 python3.12 python3.11
PYTHON ?= $(shell for p in $(PYTHONS); do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

# What is installed is stamped with what it was installed from, so that a second start runs no installer.
digest = $(shell { pwd; cat pyproject.toml $(1); } | cksum | tr ' ' -)
RUNTIME := .venv/.runtime-$(call digest,constraints.txt)
DEV := .venv/.dev-$(call digest,constraints-dev.txt)
MOTO := .venv/moto/.made-$(shell { pwd; cat constraints-moto.txt; } | cksum | tr ' ' -)

.PHONY: help demo test labs lint fmt lock migration vendor clean
help: ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

demo: $(RUNTIME) vendor ## start the sample city on http://127.0.0.1:$(PORT) (PORT=8000 DATA_DIR=.demo)
	@CLOUDMGR_DATA_DIR="$(DATA_DIR)" exec $(BIN)/cloudmgr demo --port $(PORT)

test: $(DEV) $(MOTO) vendor ## run the whole suite that needs no system packages (TESTS=path narrows it)
	@$(BIN)/python -m pytest -n $(WORKERS) --max-worker-restart=0 $(TESTS)

labs: $(DEV) $(MOTO) ## install system packages and start the labs (needs root)
	@tests/labs/start

lint: $(DEV) ## ruff, mypy strict, import contracts
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fmt: $(DEV) ## format, and mend what can be mended by machine
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

vendor: $(RUNTIME)
	@$(BIN)/python web/vendor.py

COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links $(UPGRADE)
lock: $(DEV) ## write the locks anew (UPGRADE=--upgrade takes newer versions)
	@$(COMPILE) pyproject.toml --group build -o constraints.txt >/dev/null
	@$(COMPILE) pyproject.toml --group build --group dev -c constraints.txt -o constraints-dev.txt >/dev/null
	@$(COMPILE) --group labs -c constraints-dev.txt -o constraints-labs.txt >/dev/null
	@$(COMPILE) --group moto -o constraints-moto.txt >/dev/null
	@$(COMPILE) --group node -o constraints-node.txt >/dev/null

migration: $(DEV) ## draft the next schema revision from the models (NAME=add_something)
	@test -n "$(NAME)" || { echo "name it: make migration NAME=add_something" >&2; exit 2; }
	@draft=$$(mktemp -d) && export CLOUDMGR_DATABASE__URL=sqlite:///$$draft/draft.db && \
	next=$$(printf %04d $$(( $$(ls cloudmgr/migrations/versions | grep -c '^[0-9]') + 1 ))) && \
	$(BIN)/alembic upgrade head && $(BIN)/alembic revision --autogenerate --rev-id $$next -m "$(NAME)" && \
	sed -i '/### commands auto generated/d; /### end Alembic/d' cloudmgr/migrations/versions/$${next}_*.py && \
	$(BIN)/ruff format --quiet cloudmgr/migrations; rm -rf $$draft

clean: ## remove what was installed and built; data stay
	rm -rf .venv web/node_modules web/static/vendor dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

.venv/.made:
	@test -n "$(PYTHON)" || { echo "cloudmgr needs Python 3.11 or newer; none of these is: $(PYTHONS). Install one, or name it: make PYTHON=/path/to/python3 …" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || \
		{ echo "$(PYTHON) could not make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@

$(RUNTIME): .venv/.made
	@echo "Installing what cloudmgr needs into .venv (once; a minute or two) …"
	@$(PIP) --require-hashes -r constraints.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@rm -f .venv/.runtime-* && touch $@

$(DEV): $(RUNTIME)
	@echo "Installing what its tests need …"
	@$(PIP) --require-hashes -r constraints-dev.txt
	@rm -f .venv/.dev-* && touch $@

$(MOTO): | $(DEV)
	@echo "Installing a peer that speaks EC2, in an environment of its own …"
	@$(BIN)/python -m venv --clear .venv/moto
	@.venv/moto/bin/python -m pip install --disable-pip-version-check -qq --require-hashes -r constraints-moto.txt
	@touch $@
