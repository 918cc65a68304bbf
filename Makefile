# Everything here sets itself up: a fresh machine needs Python 3.10 or newer and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TOOLS := $(VENV)/.tools
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PAGE := himbeerecouch/web/page
PAGE_TOOLS := $(PAGE)/node_modules/.package-lock.json

.PHONY: demo test check coverage contract faults soak bench bench-full bench-docs bench-fleet docs clean page test-page

demo: $(INSTALLED)  ## An embedded database, this machine as a Pi, and the examples running on it; Ctrl-C ends all
	@$(BIN)/himbeerecouch demo

test: $(TOOLS)  ## The whole test suite
	@$(BIN)/python .ci/tests.py tests

check: $(TOOLS)  ## Format, lint, types, documents and coverage
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) docs coverage

coverage: $(TOOLS)
	rm -rf .coverage.d
	$(BIN)/coverage run .ci/tests.py tests
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=95
	$(BIN)/coverage report --fail-under=100 --include="$$($(BIN)/python -c 'from tests.test_floors import CORE; print(",".join(f"himbeerecouch/{name.replace(chr(46), chr(47))}.py" for name in CORE))')"

contract: $(TOOLS)  ## What we rely on, asked of the server in COUCHDB_URL=http://admin:password@host:5984
	@COUCHDB_URL=$(COUCHDB_URL) $(BIN)/python .ci/tests.py tests.contract

faults: $(TOOLS)  ## What networks, disks, clocks and programs do to a daemon, done to a real one; FAULTS="3 4 7" for some
	@$(BIN)/python -m tests.faults $(FAULTS)

soak: $(TOOLS)  ## Everything at random for MINUTES=10, from a seed: SEED=n does the same again
	@$(BIN)/python -m tests.soak $(or $(MINUTES),10) $(SEED)

bench: $(INSTALLED)  ## What it costs, beside the floor of the same machine, in two minutes; PARTS="latency start" for some
	@$(BIN)/python -m benchmarks $(PARTS) $(if $(JSON),--json $(JSON))

bench-full: $(INSTALLED)  ## All of it, beside what people use instead, which is installed into .bench first; about an hour
	@$(BIN)/python -m benchmarks --full $(PARTS) $(if $(JSON),--json $(JSON))

page: $(PAGE_TOOLS)  ## The page anew from its sources, which needs Node.js; what it makes is committed
	@npm --prefix $(PAGE) run --silent build -- --logLevel warn

test-page: $(TOOLS) $(PAGE_TOOLS)  ## The page in a real browser before a real world; it needs Node.js and chromium
	@PYTHON=$(BIN)/python node --test --test-concurrency=1 $(or $(FILES),tests/page/*.test.mjs)

bench-docs: $(INSTALLED)  ## The figures of make bench-full JSON=docs/benchmarks.json, and of make bench-fleet JSON=docs/scaling.json
	@$(BIN)/python -m benchmarks.pages docs/benchmarks.json docs/benchmarks.rst
	@$(BIN)/python -m benchmarks.pages docs/scaling.json docs/scaling.rst

bench-fleet: $(TOOLS)  ## How many Pis a server carries: fleets of 1 to 1,000 simulated ones, half an hour; PIS=10,100 for some
	@$(BIN)/python -m benchmarks.scaling $(if $(PIS),--pis $(PIS)) $(if $(JSON),--json $(JSON))

docs: $(TOOLS)  ## The documents as pages, in docs/_build
	$(BIN)/sphinx-build -W --keep-going --quiet docs docs/_build

clean:
	rm -rf $(VENV) $(PAGE)/node_modules .coverage.d build dist docs/_build *.egg-info _trial_temp*

$(INSTALLED): setup.py pyproject.toml
	@echo "installing himbeerecouch into $(VENV), once"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --editable '.[cli,embedded]' --config-settings editable_mode=compat || { command -v cc >/dev/null || \
	    echo "With Python 3.13, and on ARM, pip has to compile QuickJS: sudo apt install gcc python3-dev" >&2; exit 1; }
	@touch $@

$(TOOLS): $(INSTALLED)
	@echo "installing the tools of its tests into $(VENV), once"
	@$(PIP) --editable '.[cli,embedded,dev,docs]' --config-settings editable_mode=compat
	@touch $@

$(PAGE_TOOLS): $(PAGE)/package-lock.json
	@echo "installing the tools of the page into $(PAGE)/node_modules, once"
	@npm --prefix $(PAGE) ci --silent
	@touch $@
