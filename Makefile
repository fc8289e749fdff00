# What there is to do, each with one word. `make` alone lists it.
# Whatever is missing is installed into this folder first: .venv and .toolchains.

.DEFAULT_GOAL := help
.PHONY: help demo up doctor setup test check screenshots format lock production-env
.SILENT:

PYTHON := .venv/bin/python

help: ## this list
	awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

demo: setup ## start the service here, build the example project by a job, and stay up
	exec $(PYTHON) scripts/demo.py

up: setup ## start the service here: web, workers and beat in one command
	exec $(PYTHON) manage.py up

doctor: setup ## what this machine has and lacks for running jobs
	exec $(PYTHON) manage.py doctor

setup: ## install the server and dbt, each package by its hash
	scripts/setup.sh

test: setup-dev ## run the whole suite; finds or starts PostgreSQL, Redis and RabbitMQ
	exec $(PYTHON) scripts/test.py

check: setup-dev ## what is checked without running: style, types, floors, migrations, settings
	scripts/check.sh

screenshots: setup-dev ## photograph the pages of the console into .screenshots/, to be looked at
	exec $(PYTHON) scripts/screenshots.py

format: setup-dev ## put the code into its one form
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

lock: setup-dev ## resolve all dependencies anew and write constraints/
	scripts/lock.sh

production-env: setup ## write .env for docker compose: SITE=https://jobs.example.com
	exec $(PYTHON) scripts/production_env.py "$(SITE)"

.PHONY: setup-dev
setup-dev:
	scripts/setup.sh dev
