# `make demo` and `make test` need Python 3.11 or newer, and nothing else: each makes .venv first.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test readme clean

demo: .venv/ready
	$(BIN)/apple-seg demo

test: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses auto

# Writes the tables of README.md and benchmarks/README.md from the committed results.
readme: .venv/ready
	$(BIN)/python -m benchmarks.report

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

clean:
	rm -rf .venv demo
