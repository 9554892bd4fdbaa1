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
.PHONY: help venv demo test test-slow lint format bench lock clean

help:
	@echo "make demo       set up, then trace, tune, compile, check and compare FasterNet-T0"
	@echo "make test       run the default tests (twelve minutes on 2 cores)"
	@echo "make test-slow  run the tests marked slow as well"
	@echo "make lint       ruff and mypy"
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

demo: venv
	@$(BIN)/tvm-flow demo

# Two runs beside each other, on a core each: tests that only compile and compute, and those that
# start processes and measure time. The first one's log is shown when both are done.
DEFAULT := -m "not slow and not board and not gpu"
COMPUTE := tests/schedules tests/passes tests/frontend tests/test_zoo.py tests/test_models.py \
	tests/test_committed_records.py tests/test_digits.py tests/test_compat.py tests/modelled

test: venv
	@mkdir -p build
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(DEFAULT) $(COMPUTE) >build/test-compute.log 2>&1 & \
	  compute=$$!; $(BIN)/python -m pytest $(DEFAULT) $(COMPUTE:%=--ignore=%); code=$$?; \
	  wait $$compute || code=1; cat build/test-compute.log; exit $$code

test-slow: venv
	$(BIN)/python -m pytest -m "not gpu"

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

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
