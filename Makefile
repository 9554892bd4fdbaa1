# tvm-flow: `make demo` sets everything up and runs the main job; `make test` runs the tests.
PYTHON ?= python3.11
# More arguments for pip, such as another index; see Requirements in README.md.
PIP_ARGS ?=
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
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

$(STAMP): requirements.lock requirements-nodeps.lock pyproject.toml
	@$(PYTHON) -c 'import ensurepip, sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "error: $(PYTHON) is not a Python 3.11 with venv." \
	    "Fix: apt-get install python3.11 python3.11-venv, or make PYTHON=path/to/python3.11"; \
	  exit 1; } >&2
	@echo "Installing into $(VENV) (about a minute plus the download) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) setuptools==80.9.0
	@$(PIP) -r requirements.lock
	@$(PIP) --no-deps -r requirements-nodeps.lock
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
	$(BIN)/python -m pip list --format=freeze --exclude-editable \
	  | grep -v -E '^(pip|setuptools|wheel|xgboost|tvm-flow)==' | sed 's/+cpu//' > requirements.lock

clean:
	rm -rf $(VENV) build dist *.egg-info
