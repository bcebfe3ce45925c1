PYTHON ?= python

.DEFAULT_GOAL := help
.PHONY: help check format test test-slow test-all

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

check:  ## lint, formatting and types; changes nothing
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

format:  ## apply formatting and the safe lint fixes
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

test:  ## the fast tests
	$(PYTHON) -m pytest -m "not slow"

test-slow:  ## only the long tests: several processes, whole recipes
	$(PYTHON) -m pytest -m slow

test-all:  ## every test
	$(PYTHON) -m pytest
