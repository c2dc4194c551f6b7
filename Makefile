# Two commands do everything on a fresh machine: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8884
CMAKE ?= cmake

.PHONY: run test chaos lint format bench-accuracy bench-anomaly bench-cpu bench-http bench-lanes \
        bench-instructions bench-sessions bench-stream clean native native-aarch64 \
        native-sanitize native-valgrind

run: $(VENV)/.installed-run
	$(BIN)/python examples/run_demo.py $(PORT)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

# Faults against daemons that really run: some minutes, and too much for `make test`.
chaos: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -s tests/chaos

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

bench-anomaly: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.anomaly

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

# The kernels in a C++ driver that compares them with stored numbers: build/$(1)/driver.
define driver
	$(CMAKE) -S native/tests -B build/$(1) -DCMAKE_BUILD_TYPE=None $(2)
	$(CMAKE) --build build/$(1) --parallel $$(getconf _NPROCESSORS_ONLN)
endef
GOLDEN := tests/golden/native
RANDOM_SHAPES ?= 200
CROSS := aarch64-linux-gnu

# Memory and undefined behavior at the common level and with this processor's widest vectors; races.
# Memory that nobody wrote is filled with numbers that are none.
native-sanitize: export ASAN_OPTIONS := malloc_fill_byte=255:max_malloc_fill_size=1000000000
native-sanitize:
	$(call driver,sanitize,-DSANITIZERS='address;undefined')
	build/sanitize/driver $(GOLDEN) && build/sanitize/driver --random 0 $(RANDOM_SHAPES)
	$(call driver,sanitize-own,-DSANITIZERS='address;undefined' -DLEVEL=own -DLEVEL_FLAGS=-march=native)
	build/sanitize-own/driver $(GOLDEN) && build/sanitize-own/driver --random 0 $(RANDOM_SHAPES)
	$(call driver,sanitize-threads,-DSANITIZERS=thread)
	build/sanitize-threads/driver $(GOLDEN) && build/sanitize-threads/driver --random 0 $(RANDOM_SHAPES)

native-valgrind:
	@command -v valgrind > /dev/null || { echo 'needs valgrind' >&2; exit 1; }
	$(call driver,driver)
	valgrind --quiet --error-exitcode=1 --leak-check=full build/driver/driver $(GOLDEN)
	valgrind --quiet --error-exitcode=1 build/driver/driver --random 0 5

native-aarch64:
	@command -v $(CROSS)-g++ > /dev/null && command -v qemu-aarch64 > /dev/null || \
	  { echo 'needs $(CROSS)-g++ and qemu-aarch64 (Debian: g++-$(CROSS), qemu-user)' >&2; exit 1; }
	$(call driver,driver-aarch64,-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
	  -DCMAKE_CXX_COMPILER=$(CROSS)-g++)
	qemu-aarch64 -L /usr/$(CROSS) build/driver-aarch64/driver $(GOLDEN)

bench-sessions: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.sessions

bench-lanes: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.lanes

bench-stream: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.stream

# Instructions of the main kernels, beside those in the result file, which is then written again.
bench-instructions: $(VENV)/.installed-dev
	@command -v valgrind > /dev/null || { echo 'needs valgrind' >&2; exit 1; }
	$(call driver,driver)
	$(BIN)/python -m benchmarks.instructions build/driver/driver

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
