# `make demo` and `make test` are all that a newcomer needs; `make help` lists the rest.
# PYTHON=/path/to/python3.12 chooses the interpreter; PYTEST_ARGS goes to pytest, JOBS=0 keeps it in one process.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help bench chaos chaos-short demo demo-celery guards test test-all lint format docs lock wheel clean

VENV := .venv
DEMO_VENV := .venv-demo
PYTEST_ARGS ?=
JOBS ?= auto
PYTEST = $(VENV)/bin/python -m pytest --numprocesses $(JOBS) --dist worksteal
export PYTHON

# An environment is made again when its lock, the interpreter asked for, or what an editable install takes from the
# project has changed.
INSTALLED_FROM := pyproject.toml scripts/setup_venv.sh
STAMP := .installed$(subst /,_,$(PYTHON))

$(VENV)/$(STAMP): requirements/test.txt $(INSTALLED_FROM)
	@scripts/setup_venv.sh $(VENV) requirements/test.txt
	@touch $@

$(DEMO_VENV)/$(STAMP): requirements/demo.txt $(INSTALLED_FROM)
	@scripts/setup_venv.sh $(DEMO_VENV) requirements/demo.txt
	@touch $@

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

demo: $(DEMO_VENV)/$(STAMP) ## set up, then run the example jobs on the simulator: no key, no server
	$(DEMO_VENV)/bin/orchestrator run examples/quickstart.jsonl --sandbox

demo-celery: $(VENV)/$(STAMP) ## the same through a fleet: two workers, Valkey, PostgreSQL and an S3 server, from wheels
	$(VENV)/bin/python -m scripts.demo_celery

test: $(VENV)/$(STAMP) ## set up from wheels alone, then run all tests (10 to 20 minutes)
	$(PYTEST) $(PYTEST_ARGS)

test-all: test ## test, then what needs apt: the image's steps, docker-compose.yml, Debian's PostgreSQL, RabbitMQ, Swift, Chromium
	scripts/check_image.sh
	scripts/check_compose.sh
	scripts/install_postgresql.sh
	scripts/install_rabbitmq.sh
	ORCHESTRATOR_TEST_POSTGRES=machine $(PYTEST) -q -m postgres
	ORCHESTRATOR_TEST_POSTGRES=wheel $(PYTEST) -q -m postgres
	$(VENV)/bin/python -m pytest -q -m rabbitmq
	$(PYTEST) -q -m whole_walk
	scripts/install_chromium.sh
	$(VENV)/bin/python -m pytest -q -m browser
	scripts/install_swift.sh
	ORCHESTRATOR_TEST_SWIFT=1 $(PYTEST) -q -m swift
	$(MAKE) chaos-short

bench: $(VENV)/$(STAMP) ## measure ours beside others, about 10 minutes on a quiet machine; BENCH=slots runs one
	$(VENV)/bin/python -m bench $(BENCH)

# A round is a few minutes; rounds that stand in the figures' file are not run again, so that a cut run goes on.
CHAOS_FIGURES ?= build/chaos.jsonl
CHAOS = $(VENV)/bin/python -m scripts.chaos

chaos: $(VENV)/$(STAMP) ## kill workers 500 times, restart broker and crash PostgreSQL 20 times each, then `run` on SQLite 300 times (hours)
	$(CHAOS) --seed 1000 --rounds 20 --jobs 250 --kills 25 --figures $(CHAOS_FIGURES) $(CHAOS_ARGS)
	$(CHAOS) --embedded --seed 2000 --rounds 8 --jobs 200 --kills 40 --kill-every 3 --figures $(CHAOS_FIGURES) $(CHAOS_ARGS)

chaos-short: $(VENV)/$(STAMP) ## one round of each: under 3 minutes
	$(CHAOS) --seed 7 --jobs 40 --kills 8 $(CHAOS_ARGS)
	$(CHAOS) --embedded --seed 7 --jobs 12 --kills 4 --kill-every 3 $(CHAOS_ARGS)

guards: $(VENV)/$(STAMP) ## remove each guard in turn and see that a test fails (about 35 minutes on two busy cores); GUARDS_ARGS="--resume" goes on
	$(VENV)/bin/python -m scripts.remove_guards $(GUARDS_ARGS)

lint: $(VENV)/$(STAMP) ## format, rules, types and the import contract; changes nothing
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/$(STAMP) ## format the code and mend what ruff can mend
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: $(VENV)/$(STAMP) ## draw the generated documents again
	$(VENV)/bin/python scripts/generate_docs.py

# The lock carries hashes and no address: it installs from whichever index pip is set to. One version for all Pythons.
LOCK = $(VENV)/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 \
	--fork-strategy fewest --generate-hashes --no-annotate --custom-compile-command 'make lock' $(LOCK_ARGS)

lock: $(VENV)/$(STAMP) ## resolve the dependencies again; LOCK_ARGS=--upgrade takes newer versions
	$(LOCK) pyproject.toml requirements/build.in --extra media --extra sandbox --output-file requirements/demo.txt
	$(LOCK) pyproject.toml requirements/build.in --extra dev --output-file requirements/test.txt
	$(LOCK) pyproject.toml requirements/build.in --extra api --extra fleet --extra media --extra sandbox --output-file requirements/fleet.txt
	$(LOCK) requirements/swift.in --output-file requirements/swift.txt

wheel: $(VENV)/$(STAMP) ## build the wheel and run the demo from it elsewhere
	scripts/check_wheel.sh

clean: ## remove environments, caches and builds; never .orchestrator, which holds your jobs
	rm -rf .venv .venv-* build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
