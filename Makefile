# SPDX-License-Identifier: Apache-2.0
# Everything runs from .venv, which the first target that needs it makes.

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
# How many test files run at a time; each may start a whole nova. They wait more than they
# compute, so two cores carry three.
WORKERS ?= 3
SHELL_SCRIPTS := .ci/run devstack/settings $(wildcard devstack/*.sh devstack/lib/* tests/devstack/harness/*.sh)

# Tests start console scripts and `python3 -m ...` by name.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# With make -C the closing line of pytest would not be the last one.
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## Show the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

$(INSTALLED): pyproject.toml setup.py setup.cfg
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --upgrade pip setuptools
	$(VENV)/bin/pip install --quiet --editable '.[eventlet,nova,test,lint,docs]'
	touch $@

.PHONY: venv
venv: $(INSTALLED) ## Make .venv with everything installed, this checkout editable

.PHONY: test
test: $(INSTALLED) ## Run the linters, build the documentation, run the tests
	$(MAKE) lint
	$(MAKE) docs
	pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: lint
lint: $(INSTALLED) ## Check style, types, layers, shell and release notes
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-logo
	bashate --ignore E006 $(SHELL_SCRIPTS)
	shellcheck $(SHELL_SCRIPTS)
	reno --quiet lint

.PHONY: format
format: $(INSTALLED) ## Mend what the style check would complain about
	ruff check --fix .
	ruff format .

.PHONY: docs
docs: $(INSTALLED) ## Build the documentation into doc/build/html and man; a warning is an error
	sphinx-build --quiet --fail-on-warning --fresh-env -b html doc/source doc/build/html
	sphinx-build --quiet --fail-on-warning -d doc/build/html/.doctrees -b man doc/source doc/build/man

.PHONY: sample
sample: $(INSTALLED) ## Write etc/edge-bus.conf.sample anew from the options
	oslo-config-generator --config-file etc/config-generator.conf

.PHONY: demo
demo: $(INSTALLED) ## Run a real nova on loopback over the bus
	$(VENV)/bin/python -m tests.nova.demo

.PHONY: bench
bench: $(INSTALLED) ## Measure, side by side with RabbitMQ
	$(VENV)/bin/python -m bench

.PHONY: soak
soak: $(INSTALLED) ## Run the long tests that make test leaves out
	pytest -m soak --timeout 7200

.PHONY: wheel
wheel: $(INSTALLED) ## Build the wheel and the source archive into dist/
	$(VENV)/bin/python -m build --outdir dist

.PHONY: clean
clean: ## Remove .venv and everything built
	rm -rf $(VENV) build dist doc/build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
