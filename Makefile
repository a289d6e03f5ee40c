# `make demo` and `make test` are all that a new user needs; each sets up `.venv` by itself.
PYTHON ?= python3
BIN := .venv/bin
# Errors only: pip's warnings about package indexes would hide what this Makefile says.
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check
FAMILY ?= families/demo
# What the project consists of. Families, reports and other things that users make here are not linted.
TRACKED = $(or $(shell git ls-files -- ':!tests/vendor' ':!*.png' 2>/dev/null),src tests benchmarks docs examples README.md)

.PHONY: help demo test lint docs test-slow attack test-browser bench clean

help:  ## what there is to make
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## / -- /'

# The stamp is newer than pyproject.toml when what it asks for is installed.
.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("anew needs Python 3.11 or newer: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	@echo 'Installing anew and its tools into .venv: PyTorch is large, this takes some minutes ...'
	@$(PYTHON) -m venv .venv
	@$(PIP) --editable '.[dev]'
	@touch $@

demo: .venv/ready  ## train a teacher and three generations on scikit-learn's digits, show the results
	$(BIN)/anew train --out $(FAMILY)

test: lint  ## lint, types, tests
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

lint: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	@echo codespell
	@$(BIN)/codespell $(TRACKED)
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: .venv/ready  ## the documentation as a site in build/site; warnings are errors
	@$(PIP) --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

test-slow: .venv/ready  ## long runs: ANEW_TEST_DATA=FOLDER with FashionMNIST/raw and cifar10/
	$(BIN)/python -m pytest -m slow

attack: .venv/ready  ## crashes, full disks, damaged and hostile files, in 10 minutes: ATTACK='--seed 1 --kinds power'
	PYTHONPATH=tests $(BIN)/python -m attack $(ATTACK)

test-browser: .venv/ready  ## the report in headless Chromium (Debian: apt install chromium; else ANEW_CHROMIUM=PATH)
	$(PIP) 'playwright>=1.50'
	$(BIN)/python -m pytest tests/report/test_report_browser.py

bench: .venv/ready  ## speed and memory beside other people's loops: DATA=parquet:FOLDER for CIFAR-10, else digits
	$(PIP) --editable '.[bench]'
	$(BIN)/python -m benchmarks $(if $(DATA),--data $(DATA)) --json bench.json --markdown bench.md $(BENCH)

clean:  ## remove the environment and the demo's family
	rm -rf .venv $(FAMILY)
