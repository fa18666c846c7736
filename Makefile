# Everything runs in an environment of its own, .venv, which is made on first use and renewed
# when pyproject.toml changes. Another interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help environment demo test format docs clean

help: ## Say what can be made
	@grep -E '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) \
		| awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

environment: $(READY) ## Make or renew .venv

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --editable '.[all]'
	touch $@

demo: $(READY) ## Train, evaluate and use a diagnosis on synthetic images
	$(BIN)/medlora demo

# A process for each core: files of tests are shared out, and each computes on one core. Many tests
# start Python anew, which takes twice as long where compiled modules are not kept.
test: export PYTHONDONTWRITEBYTECODE =
test: $(READY) ## Check format, lint, types and imports, then run every test
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

format: $(READY) ## Rewrite the code in the house format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(READY) ## Write the generated tables anew from docs/results
	$(BIN)/python -m benchmarks.tables

clean: ## Remove the environment and the tools' caches
	rm -rf $(VENV) .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
