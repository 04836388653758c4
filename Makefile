# `make run` and `make test` do everything on a fresh Debian or Ubuntu: virtual environment, packages,
# Docker engine, images, then the job. What is there already is left alone.
PYTHON := .venv/bin/python
SECTION := @tools/section
# What needs no containers runs on two cores; what needs them shares the machine as it sees fit.
PARALLEL := -n 2 --dist worksteal
SCENARIO ?= scenarios/timeout.yml

.DEFAULT_GOAL := help
.PHONY: help run test test-all test-kernel check lint lab images clean

help:
	@echo 'make run          set up what is missing, then run one scenario (SCENARIO=$(SCENARIO))'
	@echo 'make test         set up what is missing, then ruff, mypy and all tests, on real containers too'
	@echo 'make test-all     the same, and the scenarios of real programs (scenarios/apps)'
	@echo 'make test-kernel  set up what is missing, then two scenarios on the `kernel` wire, in a Linux that has netem'
	@echo 'make check        ruff, mypy and the tests that need no Docker'
	@echo 'make images       build the images that are missing'
	@echo 'make clean        remove what dead runs left, and stop the engine that the lab started'

run: .venv/run.stamp lab
	$(PYTHON) -m lab run $(SCENARIO)

# With the engine set up, a test that finds none is broken: it fails instead of being skipped.
test: export LAB_REQUIRE_DOCKER := 1
test: .venv/dev.stamp lab lint
	$(SECTION) 'tools of the tests' tools/setup.sh test-tools
	$(SECTION) 'unit tests' $(PYTHON) -m pytest $(PARALLEL) tests/unit
	$(SECTION) 'golden files and processes' $(PYTHON) -m pytest $(PARALLEL) tests/golden tests/process
	$(SECTION) 'the lab on real containers' $(PYTHON) -m pytest -m 'not apps' --durations 15 tests/lab

# And the scenarios of real programs: five images to build, and four minutes of runs.
test-all: export LAB_REQUIRE_DOCKER := 1
test-all: test
	$(SECTION) 'real programs' $(PYTHON) -m pytest -m apps tests/lab

# A user-mode Linux with a Docker engine in it: two minutes. See tests/kernel/run.
test-kernel: .venv/run.stamp lab
	tests/kernel/run

check: .venv/dev.stamp lint
	$(PYTHON) -m pytest $(PARALLEL) tests/unit tests/golden tests/process

lint: .venv/dev.stamp
	$(SECTION) 'ruff check' $(PYTHON) -m ruff check .
	$(SECTION) 'ruff format' $(PYTHON) -m ruff format --check .
	$(SECTION) 'mypy' $(PYTHON) -m mypy
	$(SECTION) 'imports' .venv/bin/lint-imports

lab images: .venv/run.stamp
	$(SECTION) 'engine and images' tools/setup.sh lab

clean: .venv/run.stamp
	$(PYTHON) -m lab clean
	$(PYTHON) -m lab engine down

.venv/run.stamp: requirements/run.txt pyproject.toml
	$(SECTION) 'Python packages' tools/setup.sh venv run
	@touch $@

.venv/dev.stamp: .venv/run.stamp requirements/dev.txt
	$(SECTION) 'Python packages for development' tools/setup.sh venv dev
	@touch $@
