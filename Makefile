# All that is needed is make and Python 3.10 to 3.14 (3.14 is not tested). Everything
# is installed into .venv.
#
#   make demo      install, then compare six methods by six metrics on three networks (minutes)
#   make test      install with the development tools, then lint, types, tests and doctests
#   make test-all  the same with the tests that are marked slow
#   make test-processors  the tests of `make test` as on other processors: each of PROCESSORS is what
#                  torch computes with (ATEN_CPU_CAPABILITY: default, avx2; own: the machine's own),
#                  the threads of a process, and perhaps the order (half an hour; Intel's and AMD's)
#   make install   install with the development tools
#   make docs      build the documentation's site, build/site/index.html
#   make notebooks run the notebooks and store their outputs
#   make figures-in-docs  make numbers of README and docs again, and name those that changed
#                  (an hour and more; NAMES="demo reviews": these alone)
#   make mutation  change rules and formulas place by place, and see that tests fail (half an hour)
#   make compat    run the tests on the oldest and newest supported versions (hours, gigabytes)
#   make dist      build the distributions for a release and check them
#   make upstream  make the pull requests for Quantus in its source distribution, and test them there
#                  (UPSTREAM="--source CHECKOUT --their-tests": in a checkout, with its own tests)

PYTHON ?= python3
VENV ?= .venv
OUT ?= gae-demo
# Tests run in this many processes of one thread each.
WORKERS ?= 2

PROCESSORS ?= default-1 default-2 avx2-1 avx2-2 own-2 own-1-random
# What test-processors runs.
TESTS ?= abslrp gae_metric tests

BIN := $(VENV)/bin
RUNTIME := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
DOCS := $(VENV)/.installed-docs
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest abslrp gae_metric tests -n $(WORKERS) \
	--dist worksteal

.PHONY: install demo test test-all test-processors lint upstream compat mutation dist docs notebooks \
	figures-in-docs

install: $(DEV)

demo: $(RUNTIME)
	$(BIN)/python -m gae_metric demo --out $(OUT)

test: lint
	$(PYTEST) -m "not slow"

test-all: lint
	$(PYTEST)

test-processors: $(DEV)
	@failed=; for each in $(PROCESSORS); do \
		echo "test-processors: $$each"; set -- $$(echo $$each | tr - ' '); \
		env $$(test $$1 = own && echo -u ATEN_CPU_CAPABILITY || echo ATEN_CPU_CAPABILITY=$$1) \
			OMP_NUM_THREADS=$$2 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest $(TESTS) \
			-n $(WORKERS) --dist worksteal -m "not slow" \
			$${3:+-p randomly --randomly-dont-reset-seed} || failed="$$failed $$each"; \
	done; test -z "$$failed" || { echo "test-processors: failed:$$failed" >&2; exit 1; }

upstream: $(DEV)
	$(BIN)/python contrib/quantus/upstream.py $(UPSTREAM)

compat:
	$(PYTHON) scripts/compat.py $(COMPAT)

mutation: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python scripts/mutation.py $(MUTATION)

dist: $(DEV)
	$(BIN)/python scripts/dist.py $(DIST)

docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

figures-in-docs: $(DEV)
	$(BIN)/python scripts/figures_in_docs.py $(NAMES)

notebooks: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.notebooks.execute

lint: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 10) <= v <= (3, 14) or sys.exit( \
		"Python 3.10 to 3.14 is needed, this is %d.%d; name another: make PYTHON=python3.14" % v)'
	$(PYTHON) -m venv $(VENV)

# The stamps are renewed when the dependencies may have changed.
$(RUNTIME): pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --disable-pip-version-check --editable .
	touch $@

$(DEV): pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[dev]'
	touch $(RUNTIME) $@

$(DOCS): pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[docs]'
	touch $(RUNTIME) $@
