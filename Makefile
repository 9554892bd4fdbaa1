# tvm-flow: `make demo` sets everything up and runs the main job; `make test` runs the tests.
# The first of these that runs; any from 3.11 to 3.13 serves: make PYTHON=python3.12
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do \
	  $$name -c '' 2>/dev/null && echo $$name && break; done)
# More arguments for pip, such as another index; see Requirements in README.md.
PIP_ARGS ?=
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# The exact versions, per Python; the others are installed without what they ask for.
VERSION := import sys; print("%d.%d" % sys.version_info[:2])
LOCK   := requirements/lock-$$($(BIN)/python -c '$(VERSION)').txt
NO_DEPS := requirements/lock-no-deps.txt
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS)

.DEFAULT_GOAL := help
.PHONY: help venv system-packages demo test test-fast test-slow lint format docs bench lock clean

help:
	@echo "make demo       set up, then trace, tune, compile, check and compare FasterNet-T0"
	@echo "make system-packages  install what emulated and modelled boards, and some tests, need (apt-get)"
	@echo "make test       run the default tests (about seven minutes on 2 cores)"
	@echo "make test-fast  run the unit tests (under a minute on one core)"
	@echo "make test-slow SHARD=k/n  run the k-th of n parts of the slow tests; what has passed on the"
	@echo "                same sources is not run again, unless with AGAIN=1"
	@echo "make lint       ruff, import contracts and mypy"
	@echo "make docs       these documents and the reference, as pages in build/docs"
	@echo "make bench      the benchmarks behind the README's table"
	@echo "make clean      remove the virtual environment and build products"

venv: $(STAMP)

$(STAMP): $(wildcard requirements/*.txt) pyproject.toml
	@"$(PYTHON)" -c 'import ensurepip' && test -f requirements/lock-$$("$(PYTHON)" -c '$(VERSION)').txt || { \
	  echo "error: $(or $(PYTHON),python3) is not a Python 3.11, 3.12 or 3.13 with venv." \
	    "Fix: apt-get install python3 python3-venv, or make PYTHON=path/to/python3.12"; \
	  exit 1; } >&2
	@echo "Installing into $(VENV) (about a minute plus the download) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) setuptools==80.9.0
	@$(PIP) -r $(LOCK)
	@$(PIP) --no-deps -r $(NO_DEPS)
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

# Emulated and modelled boards, and the tests of them, need these; nothing else here does.
SYSTEM_PACKAGES := tvm_flow/data/system-packages.txt

system-packages:
	@missing=; names=$$(awk '!/^#/ { print $$1 }' $(SYSTEM_PACKAGES)); \
	if ! command -v apt-get >/dev/null; then \
	  echo "error: the system packages are not installed: there is no apt-get here (Debian and" \
	    "Ubuntu have it). Fix: install by its own means what Debian calls" $$names; exit 1; fi >&2; \
	for name in $$names; do \
	  [ "$$(dpkg-query -W -f '$${db:Status-Status}' $$name 2>/dev/null)" = installed ] || \
	    missing="$$missing $$name"; done; \
	if [ -z "$$missing" ]; then echo "All system packages are there:" $$names; exit 0; fi; \
	sudo=; if [ "$$(id -u)" != 0 ]; then sudo=sudo; command -v sudo >/dev/null || { \
	  echo "error: installing$$missing takes root's rights, and there is no sudo." \
	    "Fix: as root, apt-get install$$missing" >&2; exit 1; }; fi; \
	echo "Installing$$missing ..."; \
	$$sudo apt-get -qq update && \
	$$sudo env DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y -qq --no-install-recommends $$missing >/dev/null

demo: venv
	@$(BIN)/tvm-flow demo

# Two runs beside each other, on a core each: tests that only compile and compute, and those that
# measure time or wait for processes. The first one's log is shown when both are done, and last of
# all what either left out for want of system packages. tests/support/tiers.py says which is which.
DEFAULT := -m "not slow and not board and not gpu"
ONE_CORE := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

test: venv
	@mkdir -p build
	@$(ONE_CORE) $(DEFAULT) --tier=unit,compile >build/test-compile.log 2>&1 & compile=$$!; \
	  $(BIN)/python -m pytest $(DEFAULT) --tier=process --lacking-to=build/test-process.lacking; \
	  code=$$?; wait $$compile || code=1; cat build/test-compile.log; \
	  cat build/test-process.lacking; exit $$code

test-fast: venv
	$(ONE_CORE) $(DEFAULT) --tier=unit

# A shard takes every Nth slow test. What has passed is kept below build/slow for this state of the
# sources, and left out by the next run on the same; AGAIN=1 runs it again.
SHARD ?= 1/1

test-slow: venv
	$(if $(AGAIN),rm -rf build/slow)
	$(BIN)/python -m pytest -m "slow and not board and not gpu" --shard=$(SHARD) --resume=build/slow

# What bundles carry runs under the Pythons of boards.
ON_BOARDS := tvm_flow/runtime tvm_flow/support/errors.py examples/embedding

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy
	$(BIN)/vermin --quiet --no-tips --violations -t=3.6- $(ON_BOARDS)

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pages need no network, neither to be built nor to be read.
docs: venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "Open build/docs/index.html"

bench: venv
	$(BIN)/python -m benchmarks.zoo

lock: venv
	{ echo "# Exact versions of everything the project runs and tests with, for one Python."; \
	  echo "# Installed by 'make venv'. Made from what is installed in .venv with 'make lock'."; \
	  $(BIN)/python -m pip list --format=freeze --exclude-editable \
	  | grep -v -E '^(pip|setuptools|wheel|xgboost|tvm-flow)==' | sed 's/+cpu//'; } > $(VENV)/lock
	mv $(VENV)/lock "$(LOCK)"

clean:
	rm -rf $(VENV) build dist *.egg-info
