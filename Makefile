# Everything lives in .venv, which any of these makes when it is not there or not whole:
#   make demo      train and compare, small; ends with report.html
#   make test      the test-suite
#   make test-all  the test-suite with the slow tests
#   make lint      style, format, types, direction of imports
#   make bench     speed beside other codes: tables, pictures, speed.json; half an hour
#   make clean     remove .venv and caches; runs stay

SHELL := /bin/bash
BIN := .venv/bin
# OMP_NUM_THREADS: a test worker a core, and no threads below it.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4
ARGS ?=

.PHONY: demo test test-all lint lint-style lint-format lint-types lint-imports bench clean

demo: .venv/.has-demo
	$(BIN)/neuralode demo $(ARGS)

test: .venv/.has-test
	$(PYTEST) $(ARGS)

test-all: .venv/.has-test
	$(PYTEST) -m "" $(ARGS)

lint: lint-style lint-format lint-types lint-imports

lint-style: .venv/.has-dev
	$(BIN)/ruff check

lint-format: .venv/.has-dev
	$(BIN)/ruff format --check

lint-types: .venv/.has-dev
	$(BIN)/mypy

lint-imports: .venv/.has-dev
	$(BIN)/lint-imports

bench: .venv/.has-bench
	$(BIN)/python benchmarks/speed.py $(ARGS)

clean:
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp an extra, in a chain so that `make -j` installs one at a time. A stamp is written last:
# what was interrupted has none and is redone.
.venv/.has-test: .venv/.has-demo
.venv/.has-dev: .venv/.has-test
.venv/.has-bench: .venv/.has-dev
.venv/.has-%: pyproject.toml constraints.txt .ci/install
	@.ci/install $*
	@touch $@
