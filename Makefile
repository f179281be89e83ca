# make run    set this machine up and start the main example
# make test   set this machine up and run the tests (`pytest -m apps` has the large applications)
# make test-long  the rest of what CI runs: real clusters and engines, faults, load
# make test-vm  the tests that boot virtual machines (control groups of version 2)
# make check  lint and types only
# make docs   the documentation as a site, in site/

PYTHON ?= python3
VENV := .venv
ENVKIT := $(abspath $(VENV)/bin/envkit)
EXAMPLE := examples/guestbook

.PHONY: run test test-long test-vm check docs bench stop setup setup-test clean

run: setup
	@EXAMPLE=$(EXAMPLE) ENVKIT=$(ENVKIT) sh .ci/run-example

stop:
	cd $(EXAMPLE) && $(ENVKIT) down

test: setup-test
	@PYTHON=$(VENV)/bin/python sh .ci/tests

test-long: setup-test
	@PYTHON=$(VENV)/bin/python sh .ci/tests -m 'long and not apps and not faults'

test-vm: setup-test
	@sh .ci/packages vm
	$(VENV)/bin/python -m pytest -q -m vm tests/vm

check: setup-test
	$(VENV)/bin/ruff check envkit tests
	$(VENV)/bin/mypy

docs: $(VENV)/.test
	$(VENV)/bin/python -m sphinx -q -W --keep-going -b html -d site/.doctrees docs site

bench: setup-test
	$(VENV)/bin/python -m tests.bench

setup: $(VENV)/.run
	@sh .ci/packages run

setup-test: $(VENV)/.test
	@sh .ci/packages test

$(VENV)/bin/python:
	@sh .ci/packages python
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	@$(VENV)/bin/python -m compileall -q envkit
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,docs]'
	@$(VENV)/bin/python -m compileall -q envkit
	@touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
