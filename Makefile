# Everything here sets itself up: a fresh machine needs Python 3.10 or newer and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check coverage contract bench docs clean

demo: $(STAMP)  ## An embedded database, this machine as a Pi, and the examples running on it; Ctrl-C ends all
	@$(BIN)/python -m himbeerecouch.demo examples

test: $(STAMP)  ## The whole test suite
	@$(BIN)/python .ci/tests.py tests

check: $(STAMP)  ## Format, lint, types and coverage
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) coverage

coverage: $(STAMP)
	rm -rf .coverage.d
	$(BIN)/coverage run .ci/tests.py tests
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=95
	$(BIN)/coverage report --fail-under=100 --include="$$($(BIN)/python -c 'from tests.test_floors import CORE; print(",".join(f"himbeerecouch/{name.replace(chr(46), chr(47))}.py" for name in CORE))')"

contract: $(STAMP)  ## What we rely on, asked of the server in COUCHDB_URL=http://admin:password@host:5984
	@COUCHDB_URL=$(COUCHDB_URL) $(BIN)/python .ci/tests.py tests.contract

bench: $(STAMP)  ## How long a change takes, beside the floor of the same machine
	@$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .coverage.d .demo build dist *.egg-info _trial_temp*

$(STAMP): setup.py pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded,dev]' --config-settings editable_mode=compat
	touch $@
