PYTHON ?= python
# A worker for each core; the tests of one file stay together and share their fixtures. No test asks the real Hub: without
# a network each that looks for a name there would wait for a minute.
PYTEST = HF_HUB_OFFLINE=1 $(PYTHON) -m pytest --numprocesses auto --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help check format docs test test-slow test-all dist audit licenses release

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

dist:  ## build wheel and sdist into dist/, and check them
	rm -rf dist
	$(PYTHON) -m build
	$(PYTHON) -m twine check --strict dist/*

audit:  ## known vulnerabilities of the pinned releases; without a network it says so and goes on
	$(PYTHON) -m pip_audit --requirement constraints.txt --no-deps --disable-pip || \
		echo "pip-audit found something, or could not reach its database: read what it printed"

licenses:  ## the licenses of all that is installed, as a table
	$(PYTHON) -m piplicenses --format=markdown --with-urls

release: check dist audit licenses  ## all of a release but the upload: checks, the oldest releases, files, an empty environment, the audit
	NOXSESSION=oldest $(PYTHON) -m nox
	HFDISTILL_DIST=dist $(PYTHON) -m pytest -m "slow or not slow" tests/test_package.py
	@version="$$($(PYTHON) -c 'import hfdistill; print(hfdistill.__version__)')"; \
	echo "dist/ is ready. Then: git tag -s v$$version && git push origin v$$version && twine upload dist/*"
