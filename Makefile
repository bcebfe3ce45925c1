PYTHON ?= python
# A worker for each core; the tests of one file stay together and share their fixtures.
PYTEST = $(PYTHON) -m pytest --numprocesses auto --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help check format docs test test-slow test-all

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

check:  ## lint, formatting and types; changes nothing
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

format:  ## apply formatting and the safe lint fixes
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

docs:  ## build the documentation in site/; any warning is an error
	$(PYTHON) -m mkdocs build --strict

test:  ## the fast tests
	$(PYTEST) -m "not slow"

test-slow:  ## only the long tests: several processes, whole recipes
	$(PYTEST) -m slow

test-all:  ## every test
	$(PYTEST)
