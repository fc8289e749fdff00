#!/bin/sh
# Installs what is needed to run the service, in this folder and nowhere else.
#
#     scripts/setup.sh           the server in .venv, dbt in .toolchains
#     scripts/setup.sh dev       the same, the tools of `make test`, and every dbt of constraints/
#
# Every package has its hash in constraints/. Where packages come from is what pip and uv are
# configured to use on this machine; nothing here names an index. A second call finds
# everything in place and takes a second.
set -eu
cd "$(dirname "$0")/.."

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

wanted=${1:-server}
[ -f "constraints/$wanted.txt" ] || die "There is no constraints/$wanted.txt. Say 'server' or 'dev'."

command -v git >/dev/null 2>&1 ||
    die "git is not installed; the service clones dbt projects with it." \
        "Install it with your system's packages, such as: apt-get install git"

# pyproject.toml: requires-python. A name on the PATH may be a shim that leads nowhere, and a
# distribution may leave out what makes virtual environments: so each is tried.
right_version='import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'
find_python() {
    for name in python3 python3.13 python3.12 python3.11 python; do
        if "$name" -c "$right_version" >/dev/null 2>&1; then
            found=$name
            if "$name" -c 'import venv, ensurepip' >/dev/null 2>&1; then
                python=$name
                return
            fi
        fi
    done
    [ -z "${found:-}" ] ||
        die "$found cannot make virtual environments." \
            "On Debian and Ubuntu: apt-get install python3-venv"
    die "No Python from 3.11 to 3.13 was found on the PATH." \
        "Install one, such as: apt-get install python3 python3-venv"
}

# Half an environment, left by an interrupted setup, is made anew.
if ! .venv/bin/python -c "$right_version" >/dev/null 2>&1; then
    find_python
    echo "Making .venv with $("$python" --version) ..."
    "$python" -m venv --clear .venv
fi

uv=.venv/bin/uv
uv_version=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' constraints/uv.txt)
case "$("$uv" --version 2>/dev/null || true)" in
"uv $uv_version" | "uv $uv_version "*) ;;
*)
    .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
        --requirement constraints/uv.txt ||
        die "pip could not install uv; what it said is above." \
            "Check that this machine reaches its package index, then run the same command again."
    ;;
esac

# The system's certificates, as pip was told to use them: many networks have one of their own.
# Compiled now, because a run may only read its dbt: else every command would compile it anew.
install() { # environment, constraints, words for what it is
    "$uv" --system-certs pip install --quiet --compile-bytecode --python "$1" \
        --require-hashes --requirement "$2" ||
        die "$3 could not be installed; what uv said is above." \
            "Check that this machine reaches its package index, then run the same command again."
}

echo "Installing the packages of constraints/$wanted.txt in .venv ..."
install .venv "constraints/$wanted.txt" "The server's packages"

# dbt lives in environments of its own, one a version: its needs must not bend the server's.
toolchains=dbt-1.11
[ "$wanted" = server ] || toolchains=$(cd constraints && ls dbt-*.txt | sed 's/\.txt$//')
for toolchain in $toolchains; do
    echo "Installing dbt in .toolchains/$toolchain ..."
    if ! ".toolchains/$toolchain/bin/python" -c "$right_version" >/dev/null 2>&1; then
        "$uv" venv --quiet --clear --no-project --python .venv/bin/python ".toolchains/$toolchain"
    fi
    install ".toolchains/$toolchain" "constraints/$toolchain.txt" "$toolchain"
done
