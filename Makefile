# `make run` and `make test` do everything on a fresh Debian or Ubuntu: virtual environment, packages,
# Docker engine, images, then the job. What is there already is left alone.
PYTHON := .venv/bin/python
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
test: .venv/dev.stamp lab lint
	@tools/setup.sh test-tools
	LAB_REQUIRE_DOCKER=1 $(PYTHON) -m pytest -m "not apps"

# And the scenarios of real programs: five images to build, and four minutes of runs.
test-all: test
	LAB_REQUIRE_DOCKER=1 $(PYTHON) -m pytest -m apps

# A user-mode Linux with a Docker engine in it: two minutes. See tests/kernel/run.
test-kernel: .venv/run.stamp lab
	tests/kernel/run

check: .venv/dev.stamp lint
	$(PYTHON) -m pytest tests/unit tests/golden tests/process

lint: .venv/dev.stamp
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports

lab images: .venv/run.stamp
	@tools/setup.sh lab

clean: .venv/run.stamp
	$(PYTHON) -m lab clean
	$(PYTHON) -m lab engine down

.venv/run.stamp: requirements/run.txt pyproject.toml
	@tools/setup.sh venv run
	@touch $@

.venv/dev.stamp: .venv/run.stamp requirements/dev.txt
	@tools/setup.sh venv dev
	@touch $@
