#!/bin/sh
# Writes constraints/ anew from pyproject.toml: every package with its version and hashes, for
# every system and Python we allow, and no word of where it came from.
#
#     scripts/lock.sh                    newest versions
#     UPGRADE= scripts/lock.sh           keep what is pinned, add what is new
set -eu
cd "$(dirname "$0")/.."

compile() {
    .venv/bin/uv --system-certs pip compile --quiet --universal --python-version 3.11 \
        --generate-hashes --no-header --no-emit-index-url --no-emit-find-links \
        ${UPGRADE---upgrade} "$@"
}

compile pyproject.toml --output-file constraints/server.txt
echo uv | compile - --output-file constraints/uv.txt
# The tools live beside the server's packages, so they must agree with them.
compile pyproject.toml --extra dev --constraints constraints/server.txt \
    --constraints constraints/uv.txt --output-file constraints/dev.txt
for wanted in constraints/dbt-*.in; do
    compile "$wanted" --output-file "${wanted%.in}.txt"
done
