# Everything a reader of the README needs; `make help` lists it. Recipes only call the estuaire command or a tool of .venv.
SHELL := /bin/bash
PYTHON ?=
WORKERS ?= 2
DEV ?= $(shell id -un)
BIN := .venv/bin
export PYTHON
unexport PYTHONDONTWRITEBYTECODE

# one test of the long suites may take more than the half hour of pyproject.toml: twenty worlds, images built
LONG := --timeout=7200
.DEFAULT_GOAL := help
.PHONY: help setup lock demo demo-full demo-real up down status check test test-unit dbt generated coverage test-cases test-fuzz test-seeds test-incremental test-alerts test-faults test-s3 test-s3-outage test-compose secrets hospital-package bench clean

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  \1\t/' | expand -t 18

.venv/installed.lock: requirements.lock pyproject.toml infra/setup/environment.sh
	@infra/setup/environment.sh
	@touch $@

setup: .venv/installed.lock ## make the Python environment from the lock

lock: setup ## resolve pyproject.toml into requirements.lock again
	uv=$$(command -v uv || echo .tools/bin/uv); $$uv pip compile pyproject.toml --extra platform --extra dev --override requirements.override.txt \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' -o requirements.lock -q

demo: setup ## start the stack, simulate hospitals, run the pipeline, show what to open
	@$(BIN)/estuaire demo

demo-full: setup ## the study's size: 37 hospitals, 50,000 patients, 15 million rows
	@$(BIN)/estuaire demo --full

demo-real: setup ## make demo with a 38th, real hospital: the MIMIC-IV demo, from ESTUAIRE_REAL_DATA
	@$(BIN)/estuaire demo --real

up: setup ## start PostgreSQL and Airflow on this machine
	@$(BIN)/estuaire up

down: ## stop them; leaves no process
	@if [ -x $(BIN)/estuaire ]; then $(BIN)/estuaire down; fi

status: ## what runs
	@$(BIN)/estuaire status

check: setup ## linters and types: ruff, mypy, import-linter, sqlfluff, hadolint, dbt layering
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/sqlfluff lint -q -p 2 dbt_project estuaire spark_jobs
	$(BIN)/hadolint infra/images/Dockerfile
	$(BIN)/python -m pytest -q -k "not unit_tests" tests/dbt/test_layering.py # those run with the tests

dbt: setup ## dbt by hand, on a running stack, into schemas of your own: ARGS="build --select +coverage"; ARGS=--drop removes them
	@$(BIN)/python -m estuaire.warehouse.dbt_by_hand $(DEV) $(ARGS)

generated: setup ## write again what is made from other files: dbt's sources, h01's guide, Grafana's dashboards
	$(BIN)/python -m estuaire.warehouse.dbt_sources
	$(BIN)/estuaire guide h01 --out docs/hospitals/h01
	$(BIN)/python infra/grafana/write_dashboards.py

test-unit: setup ## what needs no server: no PostgreSQL, no Spark, no Airflow; a few minutes on two cores (but for the thorough ones, of make test)
	$(BIN)/python -m pytest -q -m "not thorough" -n $(WORKERS) --dist loadfile tests/unit tests/cases

coverage: setup ## lines and branches that the tests without a server reach, in percent (`coverage report -m` says which not)
	@rm -rf .coverage && mkdir .coverage
	$(BIN)/python -m coverage run -m pytest -q -n $(WORKERS) --dist loadfile tests/unit tests/cases
	@$(BIN)/python -m coverage combine -q
	@$(BIN)/python -m coverage report --format=total

test-cases: setup ## the public cases: small inputs that once failed, each with what is right
	$(BIN)/python -m pytest -q tests/cases

test: setup check ## all tests, two files at a time (WORKERS=2): real PostgreSQL, real Spark, real Airflow scheduler
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=25 tests

test-fuzz: setup ## the kernel against a slow reader on 100,000 random files; an hour or more
	ESTUAIRE_FUZZ_ROUNDS=$${ESTUAIRE_FUZZ_ROUNDS:-50} $(BIN)/python -m pytest -q $(LONG) -n $(WORKERS) --dist load tests/unit/kernel/test_slow_reader.py

test-incremental: setup ## random sequences of deliveries, each incremental release against a build of everything; an hour
	ESTUAIRE_TEST_SEQUENCES=10 $(BIN)/python -m pytest -q -n0 $(LONG) tests/dbt/test_incremental.py

test-seeds: setup ## the planted effects found again in 20 simulated worlds; half an hour
	$(BIN)/python -m pytest -q $(LONG) -s -m seeds tests/seeds

test-faults: setup ## the stages killed and failed at every step boundary, and run again; an error of any class in each; a backup beside them; a hospital refused by gate 3
	$(BIN)/python -m pytest -q $(LONG) -m "faults or not faults" tests/integration/test_faults.py
	$(BIN)/python -m pytest -q $(LONG) -m faults tests/integration/test_deliveries_alone.py tests/integration/test_backup.py tests/integration/test_held_back_load.py
	$(BIN)/python -m pytest -q $(LONG) -m "faults or not faults" tests/end_to_end/test_pipeline.py

test-alerts: setup ## the stack watched by a real Prometheus and Alertmanager: panels, every rule that can be fired, mail, webhook; ten minutes
	$(BIN)/python -m pytest -q -m alerts tests/end_to_end/test_monitored_stack.py

test-s3: setup ## the store's tests and a small run on two real S3 servers, built once with Go
	$(BIN)/python -m pytest -q $(LONG) -s -m "s3 and not outage" tests/s3

test-s3-outage: setup ## the servers killed in mid-run, in each stage and through the real scheduler; half an hour
	$(BIN)/python -m pytest -q $(LONG) -s -m outage tests/s3

hospital-package: setup ## what a hospital installs to check and hand in: dist/ with the wheel and the packages that it needs
	@infra/setup/hospital_package.sh

secrets: ## draw the secrets of docker-compose.yml that are not there yet; then `docker compose up -d`
	@infra/compose/secrets.sh

test-compose: setup ## the compose file built, started and broken (installs a Docker engine where there is none; root), the chain on a PostgreSQL of one's own, and by itself
	$(BIN)/python -m pytest -q $(LONG) -s -m compose tests/compose tests/end_to_end/test_on_external_postgres.py tests/end_to_end/test_schedule.py

bench: setup ## benchmarks; their numbers go into docs/benchmarks.md
	$(BIN)/python -m tests.benchmarks

clean: down ## remove the database, the lake, logs and caches, after asking (YES=1: without); never landing/, nor the secrets
	@if [ -x $(BIN)/estuaire ]; then $(BIN)/estuaire clean $(if $(YES),--yes); fi
	rm -rf .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis dbt_project/target dbt_project/logs
