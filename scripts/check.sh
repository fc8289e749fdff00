#!/bin/sh
# What can be known without running a test, quickest first.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"

say() { printf '== %s\n' "$*"; }

say ruff
ruff check
ruff format --check
say mypy
mypy
say import-linter
lint-imports
say migrations
manage="python manage.py"
JOBSVC_MODE=production JOBSVC_SECRET_KEY=unused JOBSVC_DATABASE_URL=sqlite://:memory: \
    $manage makemigrations --check --dry-run --skip-checks
say "settings of a deployment"
# Values of the right shape, as a deployment would give them; nothing is connected to.
env \
    JOBSVC_MODE=production \
    JOBSVC_SITE_URL=https://jobs.example.com \
    JOBSVC_ALLOWED_HOSTS=jobs.example.com \
    JOBSVC_SECRET_KEY="$(python -c 'import secrets; print(secrets.token_urlsafe(50))')" \
    JOBSVC_FIELD_ENCRYPTION_KEYS="$(python -c 'from cryptography.fernet import Fernet as F; print(F.generate_key().decode())')" \
    JOBSVC_DATABASE_URL=postgres://jobsvc:password@postgres/jobsvc \
    JOBSVC_BROKER_URL=redis://:password@redis/0 \
    $manage check --deploy --fail-level WARNING
