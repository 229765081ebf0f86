# Everything runs from .venv, which is made on first use. After that no network is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Some tests wait for other processes: one more than the two cores of CI.
WORKERS ?= 3
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo test soak bench dev dashboards package lint format docs clean
.DEFAULT_GOAL := help

help: ## Show what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

demo: $(VENV)/.installed ## Seven weeks of sample data from landing to answers, in one command
	$(BIN)/clickstream demo $(DEMO)

test: $(VENV)/.installed-test ## The whole test suite
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --screenshots=build/screenshots $(TESTS)

soak: $(VENV)/.installed-test ## The campaigns: 200 kills, 400 histories of change data, a Spark cluster; long
	$(BIN)/python -m pytest clickstream_assets_tests/test_kills.py --kills 200
	$(BIN)/python -m pytest clickstream_assets_tests/cdc/test_convergence.py --histories 400
	$(BIN)/python -m pytest clickstream_assets_tests/campaign_cluster.py --rows-per-day 20000 -rP

bench: $(VENV)/.installed-bench ## The benchmark against PySpark on a JVM, DuckDB, Polars, pandas and Dagster as it comes; needs Java 17
	$(BIN)/python benchmarks/run.py --big $(BENCH)

dev: $(VENV)/.installed ## The Dagster UI on http://127.0.0.1:3000
	$(BIN)/clickstream dev

dashboards: $(VENV)/.installed ## Build the dashboards' pages from what is in the warehouse
	$(BIN)/clickstream dashboards

package: $(VENV)/.installed ## What jobs on AWS Glue and EMR Serverless need, in build/package
	$(BIN)/python -m clickstream_assets.spark_jobs.package build/package

lint: $(VENV)/.installed-dev ## Formatter, linter, types and SQL lint; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy clickstream_assets
	$(BIN)/sqlfluff lint --disable-progress-bar dbt_project/models dbt_project/tests/ecommerce dbt_project/tests/clickstream dbt_project/tests/ga4 dbt_project/tests/sales

format: $(VENV)/.installed-dev ## Format the Python code and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed ## Write docs/reference.md anew from the code
	$(BIN)/python -m clickstream_assets.reference

clean: ## Remove what demo and tests made, but not .venv
	rm -rf .clickstream dbt_project/target dbt_project/logs .pytest_cache .mypy_cache .ruff_cache build

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed, this is " + sys.version.split()[0] + ": set PYTHON, as in make demo PYTHON=python3.12")'
	@echo "Installing into $(VENV); this takes about two minutes, once."
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) --editable '.[test]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(PIP) --editable '.[bench]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	@touch $@
