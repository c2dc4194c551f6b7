# Two commands do everything on a fresh machine: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8884
CMAKE ?= cmake

.PHONY: run test lint format bench-accuracy bench-cpu bench-http native clean

run: $(VENV)/.installed-run
	$(BIN)/python examples/run_demo.py $(PORT)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix src tests benchmarks examples
	$(BIN)/ruff format src tests benchmarks examples

bench-accuracy: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.accuracy

bench-cpu: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.cpu

bench-http: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.http

# Builds what changed and puts it where an editable install looks for it.
native: | $(BIN)/python
	$(CMAKE) -S . -B build/dev -DCMAKE_BUILD_TYPE=Release
	$(CMAKE) --build build/dev --parallel $$(getconf _NPROCESSORS_ONLN)
	$(CMAKE) --install build/dev --strip --prefix \
	  $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')

clean:
	rm -rf $(VENV) build

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'needs Python 3.11 or newer: make PYTHON=python3.12 ...' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "needs Python's venv module (Debian: python3-venv)" >&2; exit 1; }

$(VENV)/.installed-run: pyproject.toml CMakeLists.txt $(wildcard native/*) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@# Without a compiler nothing native was built: torch then runs the models.
	$(BIN)/python -c 'from xlstmd.models.runtime import refusals as r; exit("native" in r())' || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[torch]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml CMakeLists.txt $(wildcard native/*) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[torch,dev]'
	touch $@

$(VENV)/.installed-bench: pyproject.toml CMakeLists.txt $(wildcard native/*) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[torch,dev,bench]'
	touch $@
